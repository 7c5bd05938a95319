//! The chart's golden manifests: each file of `chart/values` rendered by `helm template`, against
//! the file of the same name in `chart/expected`. With `TURNPIKE_BLESS=1` these are written anew.
//!
//! Helm is the one of the path, or that which the test cluster has built. Without one the tests
//! are skipped by name and reason, which `cargo xtask test` repeats, and counts as failures in CI.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let cases = fs::read_dir(tests().join("values")).expect("the folder of values is there");
    let mut trials: Vec<Trial> = cases
        .map(|entry| {
            let values = entry.expect("it can be read").path();
            let name = values.file_stem().expect("a name").to_string_lossy().into_owned();
            trial(&format!("chart::{name}"), move |helm| is_as_expected(helm, &values))
        })
        .collect();
    trials.push(trial("chart::a_wrong_value_is_refused", a_wrong_value_is_refused));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, run: impl FnOnce(&Path) -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match find_helm() {
        Some(helm) => run(&helm).map(|()| Completion::Completed),
        None => Ok(Completion::ignored_with("needs helm: run cargo xtask cluster up once")),
    })
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart")
}

fn find_helm() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("helm"));
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let built = cache.and_then(|cache| fs::read_dir(cache.join("turnpike")).ok());
    let built = built.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let built = built.filter(|folder| folder.extension().is_none()).map(|f| f.join("helm"));
    on_path.chain(built).find(|helm| helm.is_file())
}

fn helm_template(helm: &Path, arguments: &[&str]) -> Result<std::process::Output, Failed> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/turnpike");
    let mut command = Command::new(helm);
    command.args(["template", "turnpike"]).arg(chart).args(["--namespace", "turnpike-system"]);
    // What a user has configured must not change what is rendered.
    for variable in ["KUBECONFIG", "HELM_KUBECONTEXT", "HELM_NAMESPACE"] {
        command.env_remove(variable);
    }
    Ok(command.args(arguments).output()?)
}

fn is_as_expected(helm: &Path, values: &Path) -> Result<(), Failed> {
    let output = helm_template(helm, &["--values", &values.to_string_lossy()])?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let made = String::from_utf8(output.stdout)?;
    let file = tests().join("expected").join(values.file_name().unwrap_or_default());
    if env::var_os("TURNPIKE_BLESS").is_some_and(|value| value == "1") {
        return Ok(fs::write(file, made)?);
    }
    if fs::read_to_string(&file).unwrap_or_default() == made {
        return Ok(());
    }
    let name = file.display();
    Err(format!("{name} differs: run with TURNPIKE_BLESS=1 and look at the diff").into())
}

fn a_wrong_value_is_refused(helm: &Path) -> Result<(), Failed> {
    for (wrong, says) in [
        ("operator.replicas=two", "/operator/replicas"),
        ("operator.image.pullPolicy=Sometimes", "/operator/image/pullPolicy"),
        ("colour=blue", "colour"),
    ] {
        let output = helm_template(helm, &["--set", wrong])?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || !error.contains(says) {
            return Err(format!("{wrong}: {error}").into());
        }
    }
    Ok(())
}
