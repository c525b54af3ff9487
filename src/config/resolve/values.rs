//! How values are stored: exactly, or rounded to steps.

use super::super::error::Problem;
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::typed::read;
use super::super::values::{StepLength, Steps, Values};
use super::super::wire;
use super::value::{Folder, Words, real};
use crate::codec::Over;

const OVER: Words<Over> = Words { now: &Over::WORDS };

const ROUNDING: Words<bool> = Words { now: &[("nearest", false), ("compensated", true)] };

/// The values by the keys of a mapping; `outer` for keys that are not given.
pub(super) fn values(
    wire: &wire::Values,
    outer: Option<&Values>,
    path: &KeyPath,
    folder: &Folder,
) -> Result<Values, Problem> {
    let wire::Values { exact, step, over, rounding, calibration } = wire;
    let given = [
        ("step", step.is_some()),
        ("over", over.is_some()),
        ("rounding", rounding.is_some()),
        ("calibration", calibration.is_some()),
    ];
    let first = given.iter().find(|(_, given)| *given).map(|(key, _)| *key);
    if *exact == Some(true) {
        return match first {
            Some(key) => {
                let expected = "no such key together with `exact: true`, which rounds nothing";
                Err(Problem::bad_value(&path.key(key), expected, "one"))
            }
            None => Ok(Values::Exact),
        };
    }
    let outer = outer.and_then(Values::steps);
    let given_step = match step {
        Some(node) => Some(length(node, &path.key("step"))?),
        None => outer.map(|outer| outer.step),
    };
    let Some(step) = given_step else {
        let expected = "a `step`, such as {step: 0.01}, {step: auto} or {step: {bits: 6}}, or {exact: true}";
        return Err(Problem::bad_value(path, expected, first.unwrap_or("neither")));
    };
    let over = match over {
        Some(node) => OVER.choose(Some(node), &path.key("over"))?,
        None => outer.map(|outer| outer.over).unwrap_or_default(),
    };
    let file = folder.join_some(calibration.clone(), &path.key("calibration"))?;
    let file = file.or_else(|| outer.and_then(|outer| outer.calibration.clone()));
    let compensates = match rounding {
        Some(node) => ROUNDING.choose(Some(node), &path.key("rounding"))?,
        // Within a rule, as outside of it.
        None => outer.is_some_and(|outer| outer.calibration.is_some()),
    };
    let calibration = match (compensates, file) {
        (true, None) => {
            let expected = "`calibration` as well, a file with the second moments of the layers' inputs";
            return Err(Problem::bad_value(&path.key("rounding"), expected, "none"));
        }
        (false, Some(_)) if calibration.is_some() => {
            let expected = "`rounding: compensated` as well: rounding to nearest uses no calibration";
            return Err(Problem::bad_value(&path.key("calibration"), expected, "nearest"));
        }
        (true, file) => file,
        (false, _) => None,
    };
    Ok(Values::Steps(Steps { step, over, calibration }))
}

fn length(node: &Node, path: &KeyPath) -> Result<StepLength, Problem> {
    const EXPECTED: &str = "a finite number above 0, auto, or {bits: 1 … 16}";
    match node {
        Node::Text(word) if word == "auto" => Ok(StepLength::Auto),
        Node::Map(_) => {
            let form: wire::BitsForm = read(node, path)?;
            match form.bits {
                Node::Int(bits) if (1..=16).contains(&bits) => Ok(StepLength::Bits(bits as u32)),
                bits => Err(Problem::bad_value(&path.key("bits"), "a whole number from 1 to 16", bits)),
            }
        }
        node => match real(node) {
            Some(step) if step > 0.0 && step.is_finite() => Ok(StepLength::Length(step)),
            _ => Err(Problem::bad_value(path, EXPECTED, node)),
        },
    }
}
