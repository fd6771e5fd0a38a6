//! The order of an interaction's steps, where a vendor documents one.
//!
//! The transport may reorder messages, and vendors' versions differ, so a step out of order causes a
//! warning and nothing more. The domain has no vendor's steps: the message brings the data to compare, as
//! data, and it is compared with the data received before.

use super::received::Received;
use super::value::{Key, Value};

/// The steps and times that may precede a message.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The key under which the last step is received.
    pub step_key: &'static str,
    /// The last steps that this one may follow; an inner `None` is no step at all. `None` where no order
    /// is documented.
    pub follows: Option<&'static [Option<&'static str>]>,
    /// The keys under which times are received, in milliseconds since the Unix epoch.
    pub time_keys: &'static [&'static str],
    /// The latest of the message's own times, in milliseconds since the Unix epoch.
    pub latest_ms: Option<i64>,
}

impl Progress {
    /// Whether the message is in order after what has been received: its step may follow the last
    /// one, and its time does not run backwards.
    pub(crate) fn is_in_order(&self, known: Option<&Received<'_>>) -> bool {
        let get = |key: &str| known.and_then(|known| known.get(&Key::from(key)));
        let last = get(self.step_key).and_then(Value::string_bytes);
        let may_follow = |step: &Option<&str>| step.map(str::as_bytes) == last.as_deref();
        let latest_known = self.time_keys.iter().filter_map(|key| whole_ms(get(key)?)).max();
        let is_step_in_order = self.follows.is_none_or(|steps| steps.iter().any(may_follow));
        let is_time_in_order = match (latest_known, self.latest_ms) {
            (Some(known), Some(own)) => known <= own,
            (None, _) | (_, None) => true,
        };
        is_step_in_order && is_time_in_order
    }
}

/// A time in whole milliseconds; `None` for any other value.
fn whole_ms(value: &Value<'_>) -> Option<i64> {
    value.as_json().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Priority, Source};

    const OPENED: Progress = Progress {
        step_key: "step",
        follows: Some(&[Some("ready")]),
        time_keys: &["ready_ms", "opened_ms"],
        latest_ms: Some(20),
    };

    fn received(pairs: &[(&'static str, &'static str)]) -> Received<'static> {
        let mut received = Received::default();
        for (key, json) in pairs {
            let (key, value) = (Key::from(*key), Value::from_json(*json));
            let lost = received.take(key, value, Source::Customer, &Priority::default());
            assert_eq!(lost, None);
        }
        received
    }

    #[test]
    fn step_is_in_order_after_the_steps_it_may_follow() {
        assert!(OPENED.is_in_order(Some(&received(&[("step", "\"ready\"")]))));
        assert!(!OPENED.is_in_order(Some(&received(&[("step", "\"closed\"")]))));
        assert!(!OPENED.is_in_order(Some(&received(&[("step", "1")]))));
        assert!(!OPENED.is_in_order(None));
        assert!(Progress { follows: Some(&[None]), ..OPENED }.is_in_order(None));
        assert!(Progress { follows: None, ..OPENED }.is_in_order(None));
    }

    #[test]
    fn time_before_the_latest_known_is_out_of_order() {
        let after = |ms| received(&[("step", "\"ready\""), ("opened_ms", ms)]);
        assert!(OPENED.is_in_order(Some(&after("20"))));
        assert!(!OPENED.is_in_order(Some(&after("21"))));
        assert!(OPENED.is_in_order(Some(&after("false"))), "no time, nothing to compare");
    }
}
