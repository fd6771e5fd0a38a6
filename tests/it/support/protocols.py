"""Publishes to RabbitMQ 4 by AMQP 1.0 (qpid-proton), MQTT 5 (paho) and STOMP (stomp.py).

Usage: protocols.py AMQP_PORT MQTT_PORT STOMP_PORT EXCHANGE

Prints {} when all of it is published; MQTT's goes to amq.topic.
"""

import sys
import uuid

import paho.mqtt.client as mqtt
import stomp
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from proton import Message
from proton.utils import BlockingConnection

amqp_port, mqtt_port, stomp_port, exchange = sys.argv[1:5]


def created(id, **more):
    members = "".join(f',"{name}":"{value}"' for name, value in more.items())
    return (
        f'{{"type":"interaction.created","id":"{id}",'
        f'"interaction":{{"id":"{id}","channel":"chat"{members}}}}}'
    )


# Without ids of their own: what tells them apart is the message's id.
updated = '{"type":"interaction.updated","interaction":{"id":"string","userData":{"plan":"gold"}}}'

connection = BlockingConnection(
    f"amqp://127.0.0.1:{amqp_port}",
    allowed_mechs="PLAIN",
    sasl_enabled=True,
    user="guest",
    password="guest",
)
sender = connection.create_sender(f"/exchanges/{exchange}/the.key")
bcc = {"BCC": "elsewhere", "CC": "elsewhere"}
direct = "amq.rabbitmq.reply-to"
for message in [
    # A string, as most Python and Node programs send it; a header that the broker reads in a copy.
    Message(body=created("string"), properties=bcc, priority=9),
    # Binary in a value, and in a data section.
    Message(body=created("binary").encode(), reply_to=direct),
    Message(body=created("data").encode(), inferred=True, properties={"CC": "elsewhere"}),
    # One body, three ids that message_id has no room for, and one that it has.
    Message(body=updated, id=b"\x00\xff"),
    Message(body=updated, id=b"\x01\xff"),
    Message(body=updated, id="i" * 300),
    Message(body=updated, id=uuid.UUID(int=5)),
    Message(body=updated, id=b"\x00\xff"),
    # Waits for a parent that is not stored, with what the broker reads.
    Message(body=created("child", parentId="unknown"), properties=bcc, reply_to=direct),
    # Dead letters, likewise; the second is no text at all.
    Message(body="s3cret", id="dead-1", properties=bcc, reply_to=direct, priority=9),
    Message(body={"a": 1}, id="dead-2", properties=bcc),
]:
    sender.send(message)
connection.close()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.username_pw_set("guest", "guest")
client.connect("127.0.0.1", int(mqtt_port))
client.loop_start()
event = Properties(PacketTypes.PUBLISH)
event.ContentType = "application/json"
event.UserProperty = [
    ("specversion", "1.0"),
    ("type", "interaction.created"),
    ("id", "of-mqtt"),
    ("source", "/device"),
    ("time", "2026-11-23T12:30:00Z"),
    ("BCC", "elsewhere"),
]
data = '{"interaction":{"id":"mqtt","channel":"chat"}}'
client.publish("events/of/mqtt", data, qos=1, properties=event).wait_for_publish(60)
client.disconnect()
client.loop_stop()

connection = stomp.Connection12([("127.0.0.1", int(stomp_port))], vhost="/")
connection.connect("guest", "guest", wait=True)
connection.send(f"/exchange/{exchange}/the.key", created("stomp"), receipt="sent")
connection.disconnect(receipt="sent-and-gone")
print("{}")
