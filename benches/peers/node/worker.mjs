// What the worker does with the benchmark's messages, as one would write it in Node.js with amqplib and
// pg: a handler for each message, many at once, a transaction each. It copies from the parent, keeps
// what history lists, keeps the live data sealed, publishes persistent with a confirm, and acknowledges.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import amqp from "amqplib";
import pg from "pg";

const { PEER_AMQP_URL, PEER_QUEUE, PEER_EXCHANGE, PEER_STORE_URL } = process.env;
const HISTORY = { chat: ["customerType", "plan", "rule", "strategy"], webengagement: ["customerType", "pageTitle"] };
const COPIED = ["rule", "strategy"];
const KEY = Buffer.alloc(32);

const store = new URL(PEER_STORE_URL);
const pool = new pg.Pool({
  host: decodeURIComponent(store.hostname), user: store.username, database: store.pathname.slice(1), max: 20,
});
await pool.query(`CREATE TABLE IF NOT EXISTS peer (
  tenant text, id text, channel text, queue text, record jsonb, live bytea, event text, PRIMARY KEY (tenant, id))`);

function seal(text) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("chacha20-poly1305", KEY, nonce, { authTagLength: 16 });
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

function open(sealed) {
  const decipher = createDecipheriv("chacha20-poly1305", KEY, sealed.subarray(0, 12), { authTagLength: 16 });
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]).toString();
}

function messageId(...parts) {
  const hash = createHash("sha1").update(parts.join("\0")).digest();
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  return hash.toString("hex", 0, 16).replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

async function enrich(message) {
  const { userData, ...interaction } = message.interaction;
  const tenant = interaction.tenant ?? "";
  const data = { ...userData };
  const origins = Object.fromEntries(Object.keys(data).map((key) => [key, "received"]));
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query("SELECT event FROM peer WHERE tenant = $1 AND id = $2 FOR UPDATE", [tenant, interaction.id]);
    let parent = "none";
    if (interaction.parentId) {
      const { rows } = await client.query("SELECT live FROM peer WHERE tenant = $1 AND id = $2", [tenant, interaction.parentId]);
      parent = rows.length ? "found" : "unknown";
      const inherited = rows.length ? JSON.parse(open(rows[0].live)) : {};
      for (const key of COPIED) {
        if (key in inherited && !(key in data)) {
          data[key] = inherited[key];
          origins[key] = "copied";
        }
      }
    }
    const listed = HISTORY[interaction.channel] ?? [];
    const record = Object.fromEntries(listed.filter((key) => key in data).map((key) => [key, String(data[key])]));
    await client.query(
      `INSERT INTO peer VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, id)
       DO UPDATE SET record = excluded.record, live = excluded.live, event = excluded.event`,
      [tenant, interaction.id, interaction.channel, interaction.queue, record, seal(JSON.stringify(data)), message.id]);
    await client.query("COMMIT");
    return {
      type: "interaction.enriched", id: messageId(tenant, interaction.id, message.id), time: new Date().toISOString(),
      cause: { type: message.type, id: message.id }, parent,
      interaction: { ...interaction, userData: data, metadata: {}, extraData: record }, origins, warnings: [],
    };
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

const connection = await amqp.connect(PEER_AMQP_URL);
const source = await connection.createChannel();
const out = await connection.createConfirmChannel();
await source.prefetch(400);
await source.consume(PEER_QUEUE, async (delivery) => {
  const enriched = await enrich(JSON.parse(delivery.content));
  const options = { persistent: true, mandatory: true, messageId: enriched.id, contentType: "application/json" };
  const key = `interaction.enriched.${enriched.interaction.channel}`;
  out.publish(PEER_EXCHANGE, key, Buffer.from(JSON.stringify(enriched)), options, (refused) => {
    if (refused) throw refused;
    source.ack(delivery);
  });
});
