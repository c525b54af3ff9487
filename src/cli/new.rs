//! The command `new`: where its config goes.

use std::path::Path;

use cdi_prune::checkpoint::write_text;
use cdi_prune::pipeline;

use super::args::Global;
use super::{Failure, Result, print, shown};

/// Prints a starting config for a checkpoint, or writes it into a file that is not there yet.
pub fn new(checkpoint: &Path, output: Option<&Path>, force: bool, global: &Global) -> Result {
    let Some(output) = output else {
        return print(pipeline::starting_config(checkpoint, None)?.trim_end());
    };
    if output.symlink_metadata().is_ok() && !force {
        let message =
            format!("{}: this file exists; give another name, or `--force` to replace it", shown(output));
        return Err(Failure { message, code: 2 });
    }
    write_text(output, &pipeline::starting_config(checkpoint, Some(output))?)?;
    if !global.quiet {
        tracing::info!("config: {}; every `init` in it is a guess", shown(output));
    }
    Ok(())
}
