//! Settings: files and variables.
//!
//! An input is lines `NAME=value`, the variables, and after a line `---` the text of a file. The
//! secrets are set on top, and hold a text that must be found nowhere.
//!
//! Laws: any settings are loaded or refused with a reason; nothing that is shown, said or printed for
//! debugging holds a secret.

use std::io::Write as _;

use throughline::settings::{self, Flag, Sources};

/// What no output may hold.
const PLANTED: &str = "planted-7c0ffee1";

/// Panics if a law does not hold for this input.
pub(crate) fn hold_for(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.contains(PLANTED) {
        return;
    }
    let (variables, file_text) = text.split_once("---\n").unwrap_or((text, ""));
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(file_text.as_bytes()).expect("the file can be written");
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    // No operating system has a NUL in a variable, and `…_FILE` would read this machine's files.
    let variables = variables
        .filter(|(name, value)| !name.contains('\0') && !value.contains('\0'))
        .filter(|(name, _)| !name.ends_with("_FILE"));
    let secrets = [
        ("THROUGHLINE_AMQP__URL", format!("amqp://user:{PLANTED}@host")),
        ("THROUGHLINE_STORE__URL", format!("postgres://user:{PLANTED}@host/db?password={PLANTED}")),
        ("THROUGHLINE_STORE__LIVE_KEY", PLANTED.to_owned()),
    ];
    let secrets = secrets.into_iter().map(|(name, value)| (name.into(), value.into()));
    let loaded = settings::load(Sources {
        files: vec![file.path().to_owned()],
        env: variables
            .map(|(name, value)| (format!("THROUGHLINE_{name}").into(), value.into()))
            .chain(secrets)
            .collect(),
        flags: vec![Flag { name: "--log", setting: "log.format", value: "json".to_owned() }],
    });
    let told = match loaded {
        Ok(loaded) => {
            let shown = format!("{}{}", loaded.show(), loaded.show_json());
            format!("{shown}{:?}{:?}", loaded.settings, loaded.warnings)
        }
        Err(error) => format!("{error}{error:?}"),
    };
    assert!(!told.contains(PLANTED), "a secret is told");
}
