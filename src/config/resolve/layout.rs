//! The roles of dimensions.

use super::super::error::Problem;
use super::super::node::Node;
use super::super::path::KeyPath;
use super::decision::word_of;
use crate::tensor::{Layout, Role, Roles};

const WORDS: [(&str, Layout); 2] = [("out_in", Layout::OutIn), ("in_out", Layout::InOut)];

/// A named layout, or a role for each dimension.
pub(super) fn layout(node: &Node, path: &KeyPath) -> Result<Layout, Problem> {
    match node {
        Node::Text(word) => word_of(&WORDS, word, path),
        Node::List(list) => {
            let role = |(n, node): (usize, &Node)| match node {
                Node::Text(word) => word_of(&Role::WORDS, word, &path.index(n)),
                other => Err(Problem::bad_value(&path.index(n), "expert, out, in or kernel", other)),
            };
            let roles: Vec<Role> = list.iter().enumerate().map(role).collect::<Result<_, _>>()?;
            Roles::new(&roles).map(Layout::Roles).map_err(|error| {
                let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
                Problem::bad_value(path, &error.to_string(), format!("[{}]", names.join(", ")))
            })
        }
        other => {
            let expected = "out_in, in_out or a role for each dimension, such as [expert, out, in]";
            Err(Problem::bad_value(path, expected, other))
        }
    }
}
