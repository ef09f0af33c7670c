"""What the RabbitMQ source and the RabbitMQ sink share."""
