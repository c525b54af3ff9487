//! The outputs of a config.

use std::path::{Path, PathBuf};

use super::path::KeyPath;
use super::settings::Settings;

/// An output that a config can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputKind {
    /// The folder with the evaluations and candidates of the search.
    TuneCache,
    /// The initial checkpoint.
    Initial,
    /// The report, in one format.
    Report(ReportForm),
    /// The pruned checkpoint.
    Pruned,
    /// The manifest of the run.
    Manifest,
}

/// A format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportForm {
    /// JSON.
    Json,
    /// Comma-separated values.
    Csv,
    /// Markdown.
    Markdown,
    /// One HTML page.
    Html,
    /// A folder of plots.
    Svg,
}

impl OutputKind {
    /// All outputs, in the order of the stages.
    pub const ALL: [Self; 9] = [
        Self::TuneCache,
        Self::Initial,
        Self::Report(ReportForm::Json),
        Self::Report(ReportForm::Csv),
        Self::Report(ReportForm::Markdown),
        Self::Report(ReportForm::Html),
        Self::Report(ReportForm::Svg),
        Self::Pruned,
        Self::Manifest,
    ];

    /// The config's key that names it.
    pub fn key(self) -> KeyPath {
        let root = KeyPath::root();
        match self {
            Self::TuneCache => root.key("tune").key("cache"),
            Self::Initial => root.key("init").key("output"),
            Self::Report(form) => root.key("analyze").key("report").key(form.name()),
            Self::Pruned => root.key("prune").key("output"),
            Self::Manifest => root.key("manifest"),
        }
    }

    /// Whether the output is a checkpoint, as one file or as shards with an index.
    pub fn is_checkpoint(self) -> bool {
        matches!(self, Self::Initial | Self::Pruned)
    }
}

impl ReportForm {
    /// Its key in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Svg => "svg",
        }
    }
}

impl Settings {
    /// Every output that the config names, with its path, in the order of [`OutputKind::ALL`].
    pub fn outputs(&self) -> impl Iterator<Item = (OutputKind, &Path)> {
        OutputKind::ALL.into_iter().filter_map(|kind| Some((kind, self.output(kind)?)))
    }

    /// The path of an output; `None` if it is not written.
    pub fn output(&self, kind: OutputKind) -> Option<&Path> {
        let report = &self.analyze.report;
        let path = match kind {
            OutputKind::TuneCache => self.tune.as_ref().map(|tune| &tune.cache),
            OutputKind::Initial => self.init.as_ref().map(|init| &init.output),
            OutputKind::Report(ReportForm::Json) => report.json.as_ref(),
            OutputKind::Report(ReportForm::Csv) => report.csv.as_ref(),
            OutputKind::Report(ReportForm::Markdown) => report.markdown.as_ref(),
            OutputKind::Report(ReportForm::Html) => report.html.as_ref(),
            OutputKind::Report(ReportForm::Svg) => report.svg.as_ref(),
            OutputKind::Pruned => self.prune.as_ref().map(|prune| &prune.output),
            OutputKind::Manifest => self.manifest.as_ref(),
        };
        path.map(PathBuf::as_path)
    }

    /// Mutable access to the path of an output.
    pub(crate) fn output_mut(&mut self, kind: OutputKind) -> Option<&mut PathBuf> {
        let report = &mut self.analyze.report;
        match kind {
            OutputKind::TuneCache => self.tune.as_mut().map(|tune| &mut tune.cache),
            OutputKind::Initial => self.init.as_mut().map(|init| &mut init.output),
            OutputKind::Report(ReportForm::Json) => report.json.as_mut(),
            OutputKind::Report(ReportForm::Csv) => report.csv.as_mut(),
            OutputKind::Report(ReportForm::Markdown) => report.markdown.as_mut(),
            OutputKind::Report(ReportForm::Html) => report.html.as_mut(),
            OutputKind::Report(ReportForm::Svg) => report.svg.as_mut(),
            OutputKind::Pruned => self.prune.as_mut().map(|prune| &mut prune.output),
            OutputKind::Manifest => self.manifest.as_mut(),
        }
    }
}
