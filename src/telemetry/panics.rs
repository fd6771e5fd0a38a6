//! The panic hook: reports the place of a panic, not its message.
//!
//! A panic's message may quote a value (K8): slicing a text beside a character's edge quotes the text.
//! So only the place is reported, which is what is needed to find the bug.

use std::panic::{self, Location};

use super::stderr::write_line;

/// Makes panics of this process report their place only. To be called once, at the very start.
pub fn withhold_messages() {
    panic::set_hook(Box::new(|panic| write_line(describe(panic.location()))));
}

fn describe(place: Option<&Location<'_>>) -> String {
    let place = place.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("throughline: panicked at {place}; the message is withheld, it may quote a value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_reports_its_place() {
        let here = Location::caller();
        let described = describe(Some(here));
        let place = format!("{}:{}:{}", file!(), here.line(), here.column());
        assert!(
            described.starts_with(&format!("throughline: panicked at {place}; ")),
            "{described}"
        );
    }
}
