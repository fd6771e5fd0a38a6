//! The layers that settings are written in, from the embedded defaults to the flags.
//!
//! Each layer becomes a [`config::Source`] of known settings; what is not known is a problem (files)
//! or a warning (variables) here already. The `config` crate then lays one over the other and keeps
//! with each value the file, variable or flag it came from.
//!
//! `config`'s own `Environment` is not used: it does not keep which variable a value came from, its
//! guessing of types turns the secret `00123` into `123`, and it drops variables that match nothing
//! without a warning. Here a variable's text is read as what the default of the same setting is.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use config::{FileFormat, Format, Value, ValueKind};

use super::nearest::nearest;
use super::rules_file::place_of;
use super::{Origin, Problem};
use crate::domain::byte_order_mark::without_mark;

/// The embedded defaults: every setting, its unit and its reason.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The prefix of every variable.
const PREFIX: &str = "THROUGHLINE_";

/// Variables that only tests read.
const TEST_PREFIX: &str = "THROUGHLINE_TEST_";

/// Settings that are never shown, and can be given by a file that a `…_FILE` variable names.
const SECRETS: [&str; 3] = ["amqp.url", "store.url", "store.live_key"];

/// Whether the setting's value must not be shown.
pub(super) fn is_secret(setting: &str) -> bool {
    SECRETS.contains(&setting)
}

/// Where settings are written besides the embedded defaults; each is stronger than the one before.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files named by the user, the later ones stronger. One that is absent is a problem.
    pub files: Vec<PathBuf>,
    /// The environment, usually [`std::env::vars_os`]. What does not begin with `THROUGHLINE_` is
    /// not looked at, nor what begins with `THROUGHLINE_TEST_`.
    pub env: Vec<(OsString, OsString)>,
    /// The settings of the command line.
    pub flags: Vec<Flag>,
}

/// A flag of the command line that stands for a setting.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its name as typed, as in `--rules`.
    pub name: &'static str,
    /// The setting it stands for, as in `rules.file`.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
}

/// All layers, the weakest first, and what was found wrong while reading them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) weakest_first: Vec<Layer>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// Values by the path of their setting, each with its origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer(BTreeMap<String, Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, config::ConfigError> {
        Ok(self.0.clone().into_iter().collect())
    }
}

impl Layers {
    /// Reads all sources.
    pub(super) fn read(sources: Sources) -> Layers {
        let mut layers = Layers::default();
        let defaults = Layer(layers.toml(None, DEFAULTS).into_iter().collect());
        let files: Vec<_> = sources.files.iter().map(|file| layers.file(&defaults, file)).collect();
        let [variables, secret_files] = layers.environment(&defaults, sources.env);
        let flags = layers.flags(&defaults, sources.flags);
        layers.weakest_first =
            [vec![defaults], files, vec![variables, secret_files, flags]].concat();
        layers
    }

    /// The settings of a file.
    fn file(&mut self, defaults: &Layer, file: &Path) -> Layer {
        let origin = file.display().to_string();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                self.problem("", Some(&origin), format!("cannot be read: {error}"));
                return Layer::default();
            }
        };
        let mut layer = Layer::default();
        for (path, value) in self.toml(Some(&origin), without_mark(&text)) {
            if defaults.0.contains_key(&path) {
                layer.0.insert(path, value);
            } else if defaults.has_section(&path) {
                // An empty section sets nothing and is valid.
                if !matches!(value.kind, ValueKind::Table(_)) {
                    self.problem(&path, Some(&origin), "is a section, not a setting".to_owned());
                }
            } else {
                let hint = hint(nearest(&path, defaults.settings()));
                self.problem(&path, Some(&origin), format!("is no setting{hint}"));
            }
        }
        layer
    }

    /// The variables, and the secrets in files that variables name.
    fn environment(&mut self, defaults: &Layer, env: Vec<(OsString, OsString)>) -> [Layer; 2] {
        let settings: HashMap<String, &str> =
            defaults.settings().map(|setting| (variable(setting), setting)).collect();
        let [mut variables, mut secret_files] = [Layer::default(), Layer::default()];
        let mut ours: Vec<_> = env
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX))
            .collect();
        ours.sort();
        for (name, value) in ours {
            // The setting of exactly this name goes first: `store.live_key_file` is one of its own.
            let setting = settings.get(&name).copied();
            let in_file = name.strip_suffix("_FILE").and_then(|name| settings.get(name)).copied();
            if let Some(setting) = setting {
                if let Some(text) = self.text(setting, &name, value) {
                    variables.0.insert(setting.to_owned(), typed(defaults, setting, &name, text));
                }
            } else if let Some(secret) = in_file.filter(|setting| is_secret(setting)) {
                if let Some(text) = self.secret(secret, &name, Path::new(&value)) {
                    secret_files.0.insert(secret.to_owned(), Value::new(Some(&name), text));
                }
            } else {
                // No more than a warning: Kubernetes sets such variables for a service of our name.
                let meant = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
                let hint = hint(nearest(&meant, defaults.settings()).map(variable));
                self.warnings.push(format!("the variable {name} is no setting{hint}"));
            }
        }
        [variables, secret_files]
    }

    /// The text of a variable.
    fn text(&mut self, setting: &str, variable: &str, value: OsString) -> Option<String> {
        let text = value.into_string().ok();
        if text.is_none() {
            self.problem(setting, Some(variable), "is not UTF-8".to_owned());
        }
        text
    }

    /// The secret in a file that a variable names, without the newline at its end.
    fn secret(&mut self, setting: &str, variable: &str, file: &Path) -> Option<String> {
        match std::fs::read_to_string(file) {
            Ok(text) => Some(without_mark(&text).trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) => {
                let what = format!("{} cannot be read: {error}", file.display());
                self.problem(setting, Some(variable), what);
                None
            }
        }
    }

    /// The flags.
    fn flags(&mut self, defaults: &Layer, flags: Vec<Flag>) -> Layer {
        let mut layer = Layer::default();
        for Flag { name, setting, value } in flags {
            if defaults.0.contains_key(setting) {
                layer.0.insert(setting.to_owned(), typed(defaults, setting, name, value));
            } else {
                self.problem(setting, Some(name), "is no setting".to_owned());
            }
        }
        layer
    }

    /// The leaves of a TOML document, by path, in the order of their paths.
    fn toml(&mut self, origin: Option<&String>, text: &str) -> Vec<(String, Value)> {
        match FileFormat::Toml.parse(origin, text) {
            Ok(table) => {
                let mut leaves = Vec::new();
                flatten("", table, &mut leaves);
                for (path, value) in &mut leaves {
                    // `[[output]]` is short for `[[output.further]]`.
                    if path == "output" && matches!(value.kind, ValueKind::Array(_)) {
                        path.push_str(".further");
                    }
                }
                leaves.sort_by(|a, b| a.0.cmp(&b.0));
                leaves
            }
            // That error quotes the line, which may hold a secret; toml_edit's can do without.
            Err(_) => {
                let what = match text.parse::<toml_edit::DocumentMut>() {
                    Err(error) => {
                        let (line, _) = place_of(&error, text);
                        format!("line {line} is not TOML: {}", error.message())
                    }
                    Ok(_) => "holds a number that is too large".to_owned(),
                };
                self.problem("", origin.map(String::as_str), what);
                Vec::new()
            }
        }
    }

    fn problem(&mut self, setting: &str, origin: Option<&str>, what: String) {
        self.problems.push(Problem {
            setting: setting.to_owned(),
            origin: Origin::new(origin),
            what,
        });
    }
}

impl Layer {
    /// The paths of its settings.
    fn settings(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.keys().map(String::as_str)
    }

    fn has_section(&self, name: &str) -> bool {
        self.settings().any(|path| path.split_once('.').is_some_and(|(section, _)| section == name))
    }
}

/// The end of a sentence that offers the name that was probably meant.
fn hint(nearest: Option<impl Display>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// The variable of a setting.
fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_ascii_uppercase())
}

/// A variable's or flag's text as the kind of value that the setting's default is. What cannot be
/// read so stays text, and is refused where the setting is read.
fn typed(defaults: &Layer, setting: &str, origin: &str, text: String) -> Value {
    let kind = match defaults.0.get(setting).map(|default| &default.kind) {
        Some(ValueKind::I64(_)) => text.parse().map(ValueKind::I64).ok(),
        Some(ValueKind::Boolean(_)) => text.parse().map(ValueKind::Boolean).ok(),
        _ => None,
    };
    Value::new(Some(&origin.to_owned()), kind.unwrap_or(ValueKind::String(text)))
}

/// Adds the leaves below `path` to `leaves`. An empty table counts as one: it is what remains of a
/// section whose name may be wrong.
fn flatten(path: &str, table: HashMap<String, Value>, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(&path, inner, leaves),
            _ => leaves.push((path, value)),
        }
    }
}
