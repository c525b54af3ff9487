//! Errors of stores as errors of input and output.

use std::error::Error;
use std::io;

/// What a store answers, in the words of its deepest cause, and with the way out where there is one.
pub fn of(error: object_store::Error) -> io::Error {
    use object_store::Error as E;
    let kind = match &error {
        E::NotFound { .. } => return not_found(),
        E::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        E::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        E::NotSupported { .. } | E::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    let hint = match kind {
        io::ErrorKind::PermissionDenied => {
            "; check the credentials (AWS_ACCESS_KEY_ID and so on, see docs/object-stores.md) and their rights"
        }
        _ => "",
    };
    io::Error::new(kind, format!("{}{hint}", words(&error)))
}

/// Nothing is there.
pub fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "there is no such object")
}

/// The error on one line, without what its causes repeat: if a server answered, what it said.
fn words(error: &dyn Error) -> String {
    let whole = error.to_string();
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let cause = deepest.to_string();
    let text = if whole.contains(&cause) { whole } else { format!("{whole}: {cause}") };
    let short = match text.split_once("non-2xx status code: ") {
        Some((_, answer)) => said(answer),
        None => text
            .strip_prefix("Generic ")
            .and_then(|text| text.split_once(" error: "))
            .map_or(text.clone(), |(_, rest)| rest.to_owned()),
    };
    let short = short.split_whitespace().collect::<Vec<_>>().join(" ");
    if METADATA.iter().any(|host| text.contains(host)) {
        return format!(
            "there are no credentials: none in the environment (AWS_ACCESS_KEY_ID and so on, see \
             docs/object-stores.md) or in the files of the store's tools, and this machine has no role of its own \
             ({short})"
        );
    }
    short
}

/// Where machines of clouds are asked for their roles, last of all.
const METADATA: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// A status with the message of its page, if that is in the form of S3 and Azure.
fn said(answer: &str) -> String {
    let part = |tag: &str| {
        let (_, rest) = answer.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
    };
    let status = answer.split([':', '<']).next().unwrap_or_default().trim_end();
    match (part("Code"), part("Message")) {
        (Some(code), Some(message)) => format!("the store answers {status}: {message} ({code})"),
        _ => format!("the store answers {}", answer.trim().trim_end_matches(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_without_its_markup() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>No such\n bucket</Message></Error>";
        let source = format!(
            "Error performing GET http://h/b in 2ms - Server returned non-2xx status code: 404 Not Found: {xml}"
        );
        let error = |source: String| object_store::Error::Generic { store: "S3", source: source.into() };
        let said = of(error(source)).to_string();
        assert_eq!(said, "the store answers 404 Not Found: No such bucket (NoSuchBucket)");
        assert_eq!(of(error("no route to\nhost".to_owned())).to_string(), "no route to host");
        let source =
            "Error performing PUT http://169.254.169.254/latest/api/token in 1s - no route".to_owned();
        let said = of(error(source)).to_string();
        assert!(
            said.starts_with("there are no credentials: none in the environment (AWS_ACCESS_KEY_ID "),
            "{said}"
        );
        let source = "non-2xx status code: 501 Not Implemented: ".to_owned();
        assert_eq!(of(error(source)).to_string(), "the store answers 501 Not Implemented");
        let source = "non-2xx status code: 503 Service Unavailable: busy".to_owned();
        assert_eq!(of(error(source)).to_string(), "the store answers 503 Service Unavailable: busy");
    }
}
