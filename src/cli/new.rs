//! The command `new`: where its config goes.

use std::path::Path;

use cdi_prune::infer::Purpose;
use cdi_prune::pipeline;
use cdi_prune::store::write_text;

use super::args::Purpose as Wanted;
use super::failure::{Failure, Result};
use super::global::Global;
use super::out::{print, shown};

/// Prints a starting config for a checkpoint, or writes it into a file that is not there yet.
pub fn new(
    checkpoint: &Path,
    output: Option<&Path>,
    force: bool,
    purpose: &Purpose,
    global: &Global,
) -> Result {
    let options = global.open_options();
    let Some(output) = output else {
        return print(pipeline::infer_config(checkpoint, None, purpose, options)?.trim_end());
    };
    if output.symlink_metadata().is_ok() && !force {
        let message = format!(
            "{}: this file exists already; choose another name, or use `--force` to replace it",
            shown(output)
        );
        return Err(Failure { message, code: 2 });
    }
    write_text(output, &pipeline::infer_config(checkpoint, Some(output), purpose, options)?)?;
    if !global.quiet {
        match purpose {
            Purpose::Sleeping | Purpose::Init => {
                tracing::info!("config: {}; every `init` in it is a guess, so check it", shown(output));
            }
            _ => tracing::info!("config: {}", shown(output)),
        }
    }
    Ok(())
}

/// What `--for` and `--base` ask for together.
pub fn purpose(wanted: Option<Wanted>, base: Option<&Path>) -> Result<Purpose> {
    let refuse = |message: String| Err(Failure { message, code: 2 });
    match (wanted, base) {
        (None | Some(Wanted::Finetune), Some(base)) => match base.to_str() {
            Some(base) => Ok(Purpose::Finetune { base: base.to_owned() }),
            None => refuse(format!(
                "{}: this path is not UTF-8, so a config cannot contain it; rename the \
                                    file",
                base.display()
            )),
        },
        (Some(Wanted::Finetune), None) => refuse(
            "`--for finetune` needs `--base BASE`, the checkpoint that fine-tuning started from".to_owned(),
        ),
        (Some(_), Some(_)) => {
            refuse("`--base` works only with `--for finetune`, which is then the default".to_owned())
        }
        (None | Some(Wanted::Sleeping), None) => Ok(Purpose::Sleeping),
        (Some(Wanted::Magnitude), None) => Ok(Purpose::Magnitude),
        (Some(Wanted::Init), None) => Ok(Purpose::Init),
    }
}
