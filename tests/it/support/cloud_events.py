"""The package cloudevents at both ends of the worker: its two bindings write what the worker reads, and
read what the worker writes.

Usage: cloud_events.py URL INBOUND CE_EXCHANGE UNDERSCORE_EXCHANGE STRUCTURED_EXCHANGE

Prints the events that come out, an object each.
"""

import json
import sys
from datetime import datetime, timezone

import pika
from cloudevents.core.bindings import amqp, rabbitmq
from cloudevents.core.v1.event import CloudEvent

url, inbound, ce, underscore, structured = sys.argv[1:6]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
queues = {}
for exchange in (ce, underscore, structured):
    queues[exchange] = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queues[exchange], exchange, "#")
channel.confirm_delivery()


def event(kind, id, data):
    time = datetime(2026, 11, 23, 12, 30, 0, 123000, tzinfo=timezone.utc)
    attributes = {
        "type": kind,
        "id": id,
        "source": "/crm/acme",
        "time": time,
        "datacontenttype": "application/json",
        "specversion": "1.0",
    }
    return CloudEvent(attributes=attributes, data=data)


def publish(headers, content_type, body):
    properties = pika.BasicProperties(headers=headers, content_type=content_type, delivery_mode=2)
    channel.basic_publish(inbound, "events", body, properties, mandatory=True)


created = {"interaction": {"id": "A", "channel": "chat", "userData": {"plan": "gold"}}}
message = rabbitmq.to_binary_event(event("interaction.created", "e-1", created))
publish(message.headers, message.content_type, message.body)
updated = {"source": "agent", "interaction": {"id": "A", "userData": {"rule": "cart"}}}
message = amqp.to_binary_event(event("interaction.updated", "e-2", updated))
publish(message.application_properties, message.properties["content-type"], message.application_data)
ended = {"interaction": {"id": "A", "state": "handled"}}
message = rabbitmq.to_structured_event(event("interaction.ended", "e-3", ended))
publish(message.headers, message.content_type, message.body)


def received(exchange, count):
    """Gives up after a minute: what has not come by then will not come."""
    for _, properties, body in channel.consume(queues[exchange], auto_ack=True, inactivity_timeout=60):
        if properties is None:
            sys.exit(f"{count} events did not come by {exchange} within a minute")
        yield properties, body
        count -= 1
        if count == 0:
            break
    channel.cancel()


def show(binding, event):
    attributes = event.get_attributes()
    print(
        json.dumps(
            {
                "binding": binding,
                "specversion": attributes["specversion"],
                "type": event.get_type(),
                "id": event.get_id(),
                "source": event.get_source(),
                "time": event.get_time().timestamp(),
                "subject": event.get_subject(),
                "datacontenttype": event.get_datacontenttype(),
                "data": event.get_data(),
            }
        )
    )


for properties, body in received(ce, 3):
    message = rabbitmq.RabbitMQMessage(properties.headers, properties.content_type, body)
    show("rabbitmq", rabbitmq.from_rabbitmq_event(message))
for properties, body in received(underscore, 3):
    of_properties = {"content-type": properties.content_type}
    message = amqp.AMQPMessage(of_properties, properties.headers, body)
    show("amqp", amqp.from_amqp_event(message))
for properties, body in received(structured, 3):
    message = rabbitmq.RabbitMQMessage(properties.headers, properties.content_type, body)
    show("structured", rabbitmq.from_rabbitmq_event(message))
connection.close()
