//! `hermetic plugin test`: a folder of scenarios, and how each went.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{Kept, PluginError, load, stem};
use crate::{
    plugin::{Loader, hook::Plugin},
    trial::{
        Instances, Scenario,
        expect::{self, Problem},
        play,
    },
};

pub(super) const HELP: &str = "\
A scenario is a TOML file:

  about = \"offers are refused\"
  plugin.settings = { word = \"offer\" }

  [[step]]
  to = [\"anna@example.org\"]
  message = \"Subject: An offer\\n\\nHello\"

  [[step.expect]]
  hook = \"recipient-message\"
  verdict = \"reject\"

guest-plugins/TESTING.md has everything that one can say.

Exit codes:
  0  everything went as expected
  1  something did not
  2  the scenarios could not be played";

/// Which plugin, and which scenarios.
#[derive(Clone, Debug, Args)]
pub struct TestArguments {
    /// The component, or a plugin's folder with one component in it (or below `out`, `build` or cargo's `target`).
    #[arg(value_name = "FILE|FOLDER")]
    plugin: PathBuf,
    /// A scenario, or a folder of them. None: the folder `scenarios` beside the component or in the plugin's folder.
    #[arg(long, value_name = "FILE|FOLDER")]
    scenarios: Option<PathBuf>,
    /// One JSON object a scenario.
    #[arg(long)]
    json: bool,
}

/// What became of one scenario.
struct Tested {
    file: PathBuf,
    about: String,
    steps: usize,
    calls: usize,
    problems: Vec<(&'static str, Problem)>,
}

/// The report, how many scenarios failed, and of how many.
pub(super) async fn test(arguments: &TestArguments) -> Result<(String, usize, usize), PluginError> {
    let component = component(&arguments.plugin)?;
    let files = scenarios(arguments, &component)?;
    let kept = Kept::new()?;
    let loader = kept.loader().map_err(|error| PluginError::Load { file: component.clone(), error })?;
    let (mut text, mut failed) = (String::new(), 0);
    for file in &files {
        let tested = one(&loader, &component, file).await?;
        failed += usize::from(!tested.problems.is_empty());
        text += &if arguments.json { tested.json() } else { tested.for_people() };
    }
    if !arguments.json {
        let _ = writeln!(text, "{} scenarios, {failed} failed", files.len());
    }
    Ok((text, failed, files.len()))
}

async fn one(loader: &Loader, component: &Path, file: &Path) -> Result<Tested, PluginError> {
    let scenario = Scenario::load(file)?;
    let configured = scenario.plugin.configured(&stem(component), component).map_err(PluginError::Usage)?;
    let mut runs = Vec::new();
    for instances in [Instances::Fresh, Instances::Shared] {
        // Loaded for each: a breaker that has opened would be remembered, too.
        let (network, requests) = scenario.network()?;
        let wasm = load(&loader.clone().reaching(network), &configured)?;
        let played = play(&wasm, wasm.hooks(), &scenario, instances, &requests).await;
        let played = played.map_err(|error| PluginError::File { file: file.to_owned(), problem: error.to_string() })?;
        runs.push((instances, played));
    }
    let mut problems = Vec::new();
    let [(fresh, first), (_, second)] = &runs[..] else {
        return Err(PluginError::Usage("nothing was played".into()));
    };
    problems.extend(expect::check(&scenario, first).into_iter().map(|problem| (fresh.as_str(), problem)));
    let remembered = expect::remembers(first, second);
    problems.extend(remembered.into_iter().map(|problem| ("it remembers what it should not", problem)));
    Ok(Tested {
        file: file.to_owned(),
        about: scenario.about.clone(),
        steps: first.len(),
        calls: first.iter().map(|played| played.seen.len()).sum(),
        problems,
    })
}

impl Tested {
    fn for_people(&self) -> String {
        let Self { file, about, steps, calls, problems } = self;
        let name = file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into());
        let about = if about.is_empty() { String::new() } else { format!(": {about}") };
        if problems.is_empty() {
            return format!("ok      {name}{about} ({steps} steps, {calls} calls)\n");
        }
        let mut text = format!("FAILED  {name}{about}\n");
        for (how, problem) in problems {
            let _ = writeln!(text, "  step {}, {how}\n    {}", problem.step, problem.text.replace('\n', "\n    "));
        }
        text
    }

    fn json(&self) -> String {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|(how, problem)| json!({ "step": problem.step, "how": how, "text": problem.text }))
            .collect();
        let object = json!({
            "scenario": self.file.display().to_string(),
            "about": self.about,
            "ok": problems.is_empty(),
            "steps": self.steps,
            "calls": self.calls,
            "problems": problems,
        });
        format!("{object}\n")
    }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|one| one == extension)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The component that is meant by a folder.
fn component(path: &Path) -> Result<PathBuf, PluginError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut folders = vec![path.to_owned(), path.join("out"), path.join("build")];
    for target in entries(&path.join("target")).iter().filter(|path| path.is_dir()) {
        folders.extend(["release", "plugin"].map(|profile| target.join(profile)));
    }
    let found: Vec<_> = folders
        .iter()
        .map(|folder| entries(folder))
        .map(|paths| paths.into_iter().filter(|path| is(path, "wasm")).collect::<Vec<_>>())
        .find(|found| !found.is_empty())
        .unwrap_or_default();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(PluginError::File {
            file: path.to_owned(),
            problem: "no component (.wasm) is there; build it first, or name the file".into(),
        }),
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            Err(PluginError::Usage(format!("name one of {}", names.join(", "))))
        }
    }
}

fn scenarios(arguments: &TestArguments, component: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let beside = if arguments.plugin.is_dir() { Some(arguments.plugin.as_path()) } else { component.parent() };
    let place = match &arguments.scenarios {
        Some(place) => place.clone(),
        None => beside.unwrap_or(Path::new(".")).join("scenarios"),
    };
    if place.is_file() {
        return Ok(vec![place]);
    }
    let found: Vec<_> = entries(&place).into_iter().filter(|path| is(path, "toml")).collect();
    if found.is_empty() {
        let problem = "there is no scenario (.toml); write one, or name another folder with --scenarios".into();
        return Err(PluginError::File { file: place, problem });
    }
    Ok(found)
}
