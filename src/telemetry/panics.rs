//! Panics: where, not what.
//!
//! A panic's message may quote a value (K8): slicing a text beside a character's edge quotes the text.
//! So only the place is told, which is what is needed to find the mistake.

use std::panic::{self, Location};

use super::stderr::say;

/// Makes panics of this process tell their place only. To be called once, at the very start.
pub fn withhold_messages() {
    panic::set_hook(Box::new(|panic| say(told(panic.location()))));
}

fn told(place: Option<&Location<'_>>) -> String {
    let place = place.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("throughline: panicked at {place}; the message is withheld, it may quote a value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_tells_its_place() {
        let here = Location::caller();
        let told = told(Some(here));
        let place = format!("{}:{}:{}", file!(), here.line(), here.column());
        assert!(told.starts_with(&format!("throughline: panicked at {place}; ")), "{told}");
    }
}
