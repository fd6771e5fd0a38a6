//! The messages and the rules that everything is measured with.
//!
//! A conversation is a web engagement and the chat that grows out of it: two creations of about a
//! kilobyte with twelve keys each, two of which the chat has from its parent. They stand in this order,
//! ten conversations interleaved, so that a chat's parent is mostly in the same batch and sometimes in
//! an earlier one. Nothing is random: every run has the same messages.

/// Rules that do everything a message can meet: copying, assigning, history, metadata.
pub(crate) const RULES: &str = r#"
[copy_user_data]
value = "rule;strategy"

[[assign]]
channel = "webengagement"
key = "step"
from = "/utm/campaign"

[[metadata_item]]
name = "Tier"

[history]
chat = "customerType, plan, rule, strategy"
webengagement = "customerType, pageTitle"
"#;

/// Conversations that go on at the same time.
const INTERLEAVED: usize = 10;

/// The bodies of `count` messages.
pub(crate) fn bodies(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|place| {
        let (round, within) = (place / (2 * INTERLEAVED), place % (2 * INTERLEAVED));
        let conversation = round * INTERLEAVED + within % INTERLEAVED;
        if within < INTERLEAVED { engagement(conversation) } else { chat(conversation) }
    })
}

/// The creation of a web engagement.
pub(crate) fn engagement(n: usize) -> String {
    format!(
        r#"{{"type":"interaction.created","id":"evt-w-{n:08}","time":"2026-11-21T09:15:27.481Z","interaction":{{"id":"0000Wx{n:010}","channel":"webengagement","tenant":"1","queue":"support@acme.test","direction":"inbound","createdAt":"2026-11-21T09:15:27.102Z",{CARRIED},"userData":{{"rule":"cart-over-100","strategy":"offer-callback",{PAIRS}}}}}}}"#
    )
}

/// The creation of the chat that grows out of it.
fn chat(n: usize) -> String {
    format!(
        r#"{{"type":"interaction.created","id":"evt-c-{n:08}","time":"2026-11-21T09:15:31.007Z","interaction":{{"id":"0000Cx{n:010}","channel":"chat","tenant":"1","queue":"support@acme.test","direction":"inbound","createdAt":"2026-11-21T09:15:30.950Z","parentId":"0000Wx{n:010}",{CARRIED},"userData":{{"nickname":"Kim","subject":"Delivery on a Saturday",{PAIRS}}}}}}}"#
    )
}

/// Ten of the twelve keys.
const PAIRS: &str = r#""customerType":"returning","plan":"gold-annual","AccNum":"A-7781200","Tier":"gold","language":"en-GB","basketTotal":129.90,"visits":17,"pageTitle":"Checkout: your basket and delivery","lastPage":"/shop/checkout/delivery?step=2","utm":{"source":"newsletter","campaign":"autumn"}"#;

/// Members that no rule reads, and that are passed through.
const CARRIED: &str = r#""site":"shop.acme.test","browser":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0 Safari/537.36","attributes":{"page":"https://shop.acme.test/checkout/delivery","referrer":"https://www.acme.test/offers","screen":"1920x1080"}"#;
