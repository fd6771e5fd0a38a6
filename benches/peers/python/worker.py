"""What the worker does with the benchmark's messages, as one would write it in Python with aio-pika and
asyncpg: a task for each message, many at once, a transaction each. It copies from the parent, keeps what
history lists, keeps the live data sealed, publishes persistent with a confirm, and acknowledges."""
import asyncio
import json
import os
import uuid
from datetime import datetime, timezone

import aio_pika
import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

HISTORY = {"chat": ["customerType", "plan", "rule", "strategy"], "webengagement": ["customerType", "pageTitle"]}
COPIED = ["rule", "strategy"]
NAMESPACE = uuid.UUID("6f0c2f0e-8f1b-5e1c-9d53-6a1d6b1a7c11")
CIPHER = ChaCha20Poly1305(bytes(32))


def seal(text: str) -> bytes:
    nonce = os.urandom(12)
    return nonce + CIPHER.encrypt(nonce, text.encode(), None)


def unseal(sealed: bytes) -> str:
    return CIPHER.decrypt(sealed[:12], sealed[12:], None).decode()


async def enrich(pool: asyncpg.Pool, message: dict) -> dict:
    interaction = message["interaction"]
    data = dict(interaction.pop("userData", {}))
    tenant, own_id = interaction.get("tenant", ""), interaction["id"]
    origins = dict.fromkeys(data, "received")
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetchrow("SELECT event FROM peer WHERE tenant = $1 AND id = $2 FOR UPDATE", tenant, own_id)
        parent = "none"
        if parent_id := interaction.get("parentId"):
            row = await connection.fetchrow("SELECT live FROM peer WHERE tenant = $1 AND id = $2", tenant, parent_id)
            parent = "found" if row else "unknown"
            inherited = json.loads(unseal(row["live"])) if row else {}
            for key in COPIED:
                if key in inherited and key not in data:
                    data[key], origins[key] = inherited[key], "copied"
        listed = HISTORY.get(interaction["channel"], [])
        record = {key: str(data[key]) for key in listed if key in data}
        await connection.execute(
            """INSERT INTO peer VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, id)
               DO UPDATE SET record = excluded.record, live = excluded.live, event = excluded.event""",
            tenant, own_id, interaction["channel"], interaction.get("queue"), json.dumps(record),
            seal(json.dumps(data)), message["id"])
    return {
        "type": "interaction.enriched",
        "id": str(uuid.uuid5(NAMESPACE, "\0".join([tenant, own_id, message["id"]]))),
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "cause": {"type": message["type"], "id": message["id"]},
        "parent": parent,
        "interaction": interaction | {"userData": data, "metadata": {}, "extraData": record},
        "origins": origins,
        "warnings": [],
    }


async def main() -> None:
    pool = await asyncpg.create_pool(os.environ["PEER_STORE_URL"], min_size=20, max_size=20)
    await pool.execute(
        """CREATE TABLE IF NOT EXISTS peer (tenant text, id text, channel text, queue text, record jsonb,
           live bytea, event text, PRIMARY KEY (tenant, id))""")
    connection = await aio_pika.connect(os.environ["PEER_AMQP_URL"])
    source, out = await connection.channel(), await connection.channel(publisher_confirms=True)
    await source.set_qos(prefetch_count=400)
    exchange = await out.get_exchange(os.environ["PEER_EXCHANGE"], ensure=False)
    queue = await source.get_queue(os.environ["PEER_QUEUE"], ensure=False)

    async def handle(delivery: aio_pika.abc.AbstractIncomingMessage) -> None:
        enriched = await enrich(pool, json.loads(delivery.body))
        await exchange.publish(
            aio_pika.Message(
                json.dumps(enriched, separators=(",", ":")).encode(), message_id=enriched["id"],
                content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
            routing_key=f"interaction.enriched.{enriched['interaction']['channel']}")
        await delivery.ack()

    await queue.consume(handle)
    await asyncio.Future()


asyncio.run(main())
