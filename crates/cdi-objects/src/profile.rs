//! The profile of the AWS command line: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::PathBuf;

/// An access key.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

/// What is used of a profile.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub keys: Option<Keys>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

impl Profile {
    /// That of `AWS_PROFILE`, or `default`. Empty if there are no such files.
    pub fn of_this_user() -> Self {
        let home = || env::home_dir().map(|home| home.join(".aws"));
        let text = |variable: &str, name: &str| {
            let path = env::var_os(variable).map(PathBuf::from).or_else(|| Some(home()?.join(name)));
            path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
        };
        let name = env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        Self::read(
            name.as_deref().unwrap_or("default"),
            &text("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            &text("AWS_CONFIG_FILE", "config"),
        )
    }

    fn read(name: &str, credentials: &str, config: &str) -> Self {
        let mut found = section(config, &[name, &format!("profile {name}")]);
        // Where both have a key, the file of credentials is right, as for the AWS command line.
        found.extend(section(credentials, &[name]));
        let get = |key: &str| found.get(key).map(|value| (*value).to_owned());
        let keys = get("aws_access_key_id").zip(get("aws_secret_access_key"));
        Self {
            keys: keys.map(|(id, secret)| Keys { id, secret, token: get("aws_session_token") }),
            region: get("region"),
            endpoint: get("endpoint_url"),
        }
    }
}

/// The values of the section with one of these names.
fn section<'t>(text: &'t str, names: &[&str]) -> HashMap<&'t str, &'t str> {
    let mut values = HashMap::new();
    let mut inside = false;
    for line in text.lines() {
        // Lines that are indented belong to a nested setting.
        if line.starts_with(['#', ';', ' ', '\t']) {
            continue;
        }
        let line = line.trim_end();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = names.contains(&name.trim());
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            values.insert(key.trim(), value.trim());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_of_that_name_and_no_other() {
        let credentials = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\n\
                           [work]\naws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n";
        let config = "[default]\nregion = eu-central-1\ns3 =\n  addressing_style = path\n\
                      [profile work]\nendpoint_url = http://localhost:9000\n[sso-session work]\nregion = no\n";
        let keys = |id: &str, secret: &str, token: Option<&str>| {
            Some(Keys { id: id.into(), secret: secret.into(), token: token.map(str::to_owned) })
        };
        let found = Profile::read("default", credentials, config);
        let region = Some("eu-central-1".to_owned());
        assert_eq!(found, Profile { keys: keys("A", "B=", None), region, endpoint: None });
        let endpoint = Some("http://localhost:9000".to_owned());
        let found = Profile::read("work", credentials, config);
        assert_eq!(found, Profile { keys: keys("C", "D", Some("E")), region: None, endpoint });
        assert_eq!(Profile::read("other", credentials, config), Profile::default());
        // A key without its secret is none.
        assert_eq!(Profile::read("a", "[a]\naws_access_key_id = A\n", "").keys, None);
    }
}
