"""ratings: the products that are rated most, live. Two pipelines and a topic between them.

    reviews ──ratings-feed──▶ topic live_ratings ──ratings-trends──▶ each minute: table, CSV, topic top_ratings
              (feed.py)       keyed by product     (trends.py)       the last 60 s, every 5 s: topic shop_ratings

What both need of the other lies in ``messages``: how a rating, and the top five, travel.
"""
