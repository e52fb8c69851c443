//! Finds logs by the names that people use.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::state::Lab;

impl Lab {
    /// The log of a process or a container, or those of all containers whose names begin so.
    ///
    /// # Errors
    /// When there is none; the text names those that there are.
    pub fn log_files(&self, name: &str) -> anyhow::Result<Vec<PathBuf>> {
        let exact = self.directory().log(&self.process_name(name));
        if exact.exists() {
            return Ok(vec![exact]);
        }
        let directory = self.directory().path().join("logs");
        let entries = std::fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        all.sort();
        let beginning = exact.with_extension("");
        let of_path = |path: &PathBuf| path.to_string_lossy().starts_with(&*beginning.to_string_lossy());
        let found: Vec<PathBuf> = all.iter().filter(|path| of_path(path)).cloned().collect();
        if found.is_empty() {
            let names: Vec<String> = all
                .iter()
                .filter_map(|path| Some(path.file_stem()?.to_str()?.replace('_', "/")))
                .collect();
            bail!("there is no log of '{name}'; there are {}", names.join(", "));
        }
        Ok(found)
    }
}
