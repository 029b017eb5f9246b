//! What may come into the tree of dependencies: `deny.toml`, by cargo-deny where it is installed.
//!
//! cargo-deny is a large program to build on a bare machine, so where it is missing the lists of
//! `deny.toml` that need no network are enforced here: licences, duplicate versions, sources.

use crate::metadata::{Metadata, Package};
use crate::run;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The parts of `deny.toml` that are enforced here.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name_and_version: String,
}

/// Holds the workspace to `deny.toml`.
///
/// # Errors
/// Lists each package with a foreign licence, a second version or another source than crates.io.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    if run::cargo_has("deny") {
        let parts = ["deny", "check", "licenses", "bans", "sources"];
        return run::succeed(&mut run::cargo(&parts));
    }
    let text =
        std::fs::read_to_string(run::root().join("deny.toml")).context("reading deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("reading deny.toml")?;
    let mut faults = Vec::new();
    for package in &metadata.packages {
        faults.extend(foreign_licence(&rules.licenses, package));
        faults.extend(foreign_source(package));
    }
    faults.extend(duplicates(&rules.bans, &metadata.packages));
    if !faults.is_empty() {
        bail!("dependencies against deny.toml:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn foreign_licence(rules: &Licenses, package: &Package) -> Option<String> {
    let Package {
        name,
        version,
        license,
        ..
    } = package;
    let Some(license) = license else {
        return Some(format!("{name} {version} names no licence"));
    };
    // Lax: `MIT/Apache-2.0` is how licences were once written.
    match spdx::Expression::parse_mode(license, spdx::ParseMode::LAX) {
        Err(error) => Some(format!("{name} {version}: {error}")),
        Ok(expression) => (!expression.evaluate(|term| rules.allow.contains(&term.to_string())))
            .then(|| format!("{name} {version} is under {license}")),
    }
}

fn foreign_source(package: &Package) -> Option<String> {
    let source = package.source.as_deref()?;
    let registry = source.starts_with("registry+") || source.starts_with("sparse+");
    (!registry).then(|| format!("{} comes from {source}", package.name))
}

fn duplicates(rules: &Bans, packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Package { name, version, .. } in packages {
        let accepted = format!("{name}@{version}");
        if !rules
            .skip
            .iter()
            .any(|skip| skip.name_and_version == accepted)
        {
            versions.entry(name).or_default().push(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    let fault = |(name, versions): (&str, Vec<&str>)| {
        format!("{name} is there in versions {}", versions.join(" and "))
    };
    versions.into_iter().map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str, source: &str) -> Package {
        serde_json::from_value(serde_json::json!({
            "name": name, "version": version, "id": name, "license": license, "source": source,
            "manifest_path": "", "dependencies": [], "targets": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_licence_is_read_as_an_expression() {
        let rules = Licenses {
            allow: ["MIT", "Apache-2.0 WITH LLVM-exception"]
                .map(str::to_owned)
                .into(),
        };
        for (license, passes) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-3.0-only AND MIT", false),
            ("Apache-2.0", false),
            ("as you like", false),
        ] {
            let found = foreign_licence(&rules, &package("a", "1.0.0", license, ""));
            assert_eq!(found.is_none(), passes, "{license}: {found:?}");
        }
    }

    #[test]
    fn sources_and_duplicates_are_seen() {
        let crates_io = "registry+https://example.org/index";
        let packages = [
            package("a", "1.0.0", "MIT", crates_io),
            package("a", "2.0.0", "MIT", crates_io),
            package("b", "1.0.0", "MIT", "git+https://example.org/b"),
        ];
        assert_eq!(packages.iter().filter_map(foreign_source).count(), 1);
        let none = Bans { skip: Vec::new() };
        assert_eq!(
            duplicates(&none, &packages),
            ["a is there in versions 1.0.0 and 2.0.0"]
        );
        let skip = Bans {
            skip: vec![Skip {
                name_and_version: "a@1.0.0".to_owned(),
            }],
        };
        assert_eq!(duplicates(&skip, &packages), [""; 0]);
    }
}
