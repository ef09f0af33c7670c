"""What the source and the sink of Kafka share: addresses, the configuration of clients, what errors mean."""
