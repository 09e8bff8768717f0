//! A configuration, read from the file and the environment.
//!
//! Never here: how the layers are merged (that is `merge`), and what is in the file (that is `file`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file::{self, FileText};
use super::merge::{self, Flags, Layer};
use super::options::options;
use super::{Config, ENVIRONMENT_PREFIX, FILE_VARIABLE, show};
use crate::exposure;

/// A configuration that cannot be used, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError(pub(super) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// Where each came from, in the order of [`super::options`].
    pub layers: Vec<Layer>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What is odd but no error, one line each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Reads the file and the environment, and merges them with the flags.
    ///
    /// # Errors
    /// The file cannot be read, or something in one of the three is wrong.
    pub fn read(file_flag: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let environment = environment()?;
        let path = match file_flag {
            Some(path) => Some(path.to_owned()),
            None => match environment.get(FILE_VARIABLE) {
                Some(path) if path.is_empty() => {
                    return Err(ConfigError(format!(
                        "variable {FILE_VARIABLE}: it is set but empty; unset it, or name a file"
                    )));
                }
                path => path.map(PathBuf::from),
            },
        };
        let text = path.as_deref().map(file::read).transpose()?;
        let file = path
            .as_ref()
            .zip(text.as_ref())
            .map(|(path, text)| FileText {
                name: path.display().to_string(),
                text,
            });
        let mut loaded = Self::merge(flags, &environment, file.as_ref())?;
        if let Some(path) = &path
            && let Some(exposed) = exposure::of(path, loaded.has_secrets_of_file())
        {
            let path = path.display();
            (loaded.warnings).push(format!("configuration file: path={path} {exposed}"));
        }
        loaded.file = path;
        Ok(loaded)
    }

    /// Merges flags, variables and a file's text, strongest first, over the defaults.
    ///
    /// # Errors
    /// Something in one of the three is wrong.
    pub fn merge(
        flags: &Flags,
        environment: &BTreeMap<String, String>,
        file: Option<&FileText<'_>>,
    ) -> Result<Self, ConfigError> {
        merge::merge(flags, environment, file)
    }

    /// Returns true when a secret stands in the file.
    fn has_secrets_of_file(&self) -> bool {
        let mut all = options().zip(&self.layers);
        all.any(|(option, layer)| option.is_secret && matches!(layer, Layer::File(_)))
    }

    /// All values in force, as a configuration file that gives the same values; secrets are only counted.
    pub fn show(&self) -> String {
        show::show(&self.config, &self.layers, self.file.as_deref())
    }
}

/// The variables that are meant for newswire.
fn environment() -> Result<BTreeMap<String, String>, ConfigError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError(format!(
                "variable {name}: it is not valid UTF-8"
            ))),
        })
        .collect()
}
