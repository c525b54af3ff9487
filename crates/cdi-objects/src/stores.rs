//! How a store is reached: from the environment variables of its usual tools.

use std::env;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, resolve_bucket_region};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::location::{Location, Scheme};
use crate::profile::Profile;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);
/// For how long a request is repeated, unless the environment variable [`PATIENCE`] has
/// another number of seconds.
const REPEATED: Duration = Duration::from_secs(60);
const PATIENCE: &str = "CDI_PRUNE_STORE_TIMEOUT";

fn patience() -> Duration {
    let seconds = env::var(PATIENCE).ok().and_then(|text| text.parse().ok());
    seconds.map_or(REPEATED, Duration::from_secs)
}

fn options(endpoint: Option<&str>) -> ClientOptions {
    // A request has no time limit as a whole, as a slow line takes minutes for a range.
    ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE.min(patience()))
        .with_timeout_disabled()
        // Whoever names an endpoint without encryption means it.
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
}

/// Requests that fail for a passing reason (a connection, 429, 5xx) are repeated for a while.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.,
        },
        max_retries: 10,
        retry_timeout: patience(),
    }
}

fn set(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The store of this bucket.
pub async fn connect(location: &Location) -> io::Result<Arc<dyn ObjectStore>> {
    if location.bucket.is_empty() {
        let message = format!("expected {}://BUCKET/KEY", location.scheme.word());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let bucket = location.bucket.as_str();
    let built: object_store::Result<Arc<dyn ObjectStore>> = match location.scheme {
        Scheme::S3 => s3(bucket).await,
        Scheme::Gs => {
            // As Google's own libraries name the endpoint of an emulator.
            let emulator = set(&["STORAGE_EMULATOR_HOST", "GOOGLE_BASE_URL"]);
            let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            if let Some(url) = &emulator {
                builder = builder.with_base_url(url).with_skip_signature(true);
            }
            let builder = builder.with_client_options(options(emulator.as_deref()));
            builder.with_retry(retries()).build().map(|store| Arc::new(store) as _)
        }
        Scheme::Az => {
            let endpoint = set(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
            let builder = builder.with_client_options(options(endpoint.as_deref()));
            builder.with_retry(retries()).build().map(|store| Arc::new(store) as _)
        }
    };
    built.map_err(crate::error::of)
}

async fn s3(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    // Credentials of a role come from the environment too, and come before those in a file.
    let role = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
    let role = [&role[..], &["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"]].concat();
    let profile = Profile::of_this_user();
    if let (None, Some(keys)) = (set(&role), &profile.keys) {
        builder = builder.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret);
        if let Some(token) = &keys.token {
            builder = builder.with_token(token);
        }
    }
    let mut endpoint = set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]);
    if let (None, Some(url)) = (&endpoint, &profile.endpoint) {
        builder = builder.with_endpoint(url);
        endpoint = Some(url.clone());
    }
    let options = options(endpoint.as_deref());
    if set(&["AWS_REGION", "AWS_DEFAULT_REGION"]).is_none() {
        let region = match (profile.region, &endpoint) {
            (Some(region), _) => Some(region),
            // Anybody may ask where a bucket of Amazon's is.
            (None, None) => Some(resolve_bucket_region(bucket, &options).await?),
            (None, Some(_)) => None,
        };
        builder = region.into_iter().fold(builder, AmazonS3Builder::with_region);
    }
    let builder = builder.with_client_options(options).with_retry(retries());
    builder.build().map(|store| Arc::new(store) as _)
}
