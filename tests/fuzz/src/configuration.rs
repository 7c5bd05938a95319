//! The relay's configuration file.

use relay_config::Config;

/// A file: what is taken is written so that it is taken as the same.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(config) = Config::from_yaml(text) else { return };
    let written = config.to_yaml().expect("what was read can be written");
    let again = Config::from_yaml(&written);
    let again = again.unwrap_or_else(|error| panic!("{error}, in\n{written}"));
    assert_eq!(again.to_yaml().expect("again"), written);
    assert_eq!(again.restart_digest(), config.restart_digest());
}
