"""A client that is not ours at both ends of the worker: publishes with pika, consumes with pika.

Usage: foreign_client.py URL INBOUND_EXCHANGE OUTBOUND_EXCHANGE COUNT < messages.ndjson

Each line of the input is {"routing_key", "properties", "headers", "body"}; what comes out downstream,
COUNT messages, is printed a line each, with routing key, properties, headers and body.
"""

import json
import sys

import pika

url, inbound, outbound, count = sys.argv[1:5]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, outbound, "interaction.#")
channel.confirm_delivery()
for line in sys.stdin:
    message = json.loads(line)
    properties = pika.BasicProperties(
        delivery_mode=2, headers=message.get("headers"), **message.get("properties", {})
    )
    channel.basic_publish(
        inbound, message["routing_key"], message["body"].encode(), properties, mandatory=True
    )

# Gives up after a minute: what has not come by then will not come.
left = int(count)
for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=60):
    if method is None:
        sys.exit(f"{left} messages did not come within a minute")
    print(
        json.dumps(
            {
                "exchange": method.exchange,
                "routing_key": method.routing_key,
                "delivery_mode": properties.delivery_mode,
                "content_type": properties.content_type,
                "message_id": properties.message_id,
                "correlation_id": properties.correlation_id,
                "type": properties.type,
                "app_id": properties.app_id,
                "timestamp": properties.timestamp,
                "headers": properties.headers,
                "body": json.loads(body),
            }
        )
    )
    left -= 1
    if left == 0:
        break
connection.close()
