//! `runner weights pull`: fetches the weights of the ECCV 2018 study.

use crate::cli::progress::Transfer;
use crate::cli::weights::folder::weights_folder;
use crate::weights::{self, DownloadSettings, ECCV2018};
use anyhow::{Result, bail};
use clap::Args;
use gauntlet_core::params;
use gauntlet_core::registry::Registry;
use indicatif::DecimalBytes;
use std::io::Write;

/// Fetch the weights of the ECCV 2018 study: of all its models, or of some
#[derive(Args)]
#[command(after_help = "Examples:
  runner weights pull eccv2018
  runner weights pull vgg_16 vgg_19

The authors publish one archive of 2.8 GB, so a single model takes the whole download; the archive \
                        is kept until nothing \
is left to take from it. A download that was stopped goes on where it was. A proxy is taken from \
                        HTTP_PROXY, HTTPS_PROXY, ALL_PROXY \
and NO_PROXY; `mirror` and `proxy` may also stand in config.toml in Gauntlet's folder.")]
pub(super) struct PullArgs {
    /// eccv2018, or models
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// An address under which the archive lies too; GAUNTLET_MIRROR does the same
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Fetches the weights of some or all models.
pub(super) fn pull(args: &PullArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let mut models: Vec<&str> = Vec::new();
    for name in &args.names {
        if *name == ECCV2018.name {
            models.extend(ECCV2018.members.iter().map(|member| member.model));
        } else if ECCV2018.member(name).is_some() {
            models.push(name);
        } else {
            let entry = registry.models().find(|entry| entry.entry.name == *name);
            match entry {
                Some(entry) if entry.embedded_weights.is_some() => {
                    bail!(
                        "the weights of `{name}` are part of the program: there is nothing to pull"
                    )
                }
                Some(_) => bail!(
                    "nobody is known who publishes weights of `{name}`: take in a file with \
                     `runner weights import FILE --model {name}`"
                ),
                None => {
                    let known: Vec<&str> = ECCV2018
                        .members
                        .iter()
                        .map(|member| member.model)
                        .chain([ECCV2018.name])
                        .collect();
                    bail!(
                        "there are no weights called `{name}`{} (`runner weights list` shows all)",
                        params::suggestion(name, &known)
                    );
                }
            }
        }
    }
    models.sort_unstable();
    models.dedup();
    let mut settings = DownloadSettings::read()?;
    settings.mirror = args.mirror.clone().or(settings.mirror);
    let folder = weights_folder()?;
    let pulled = weights::pull(&ECCV2018, &models, &folder, &settings, &Transfer::new())?;
    for (model, file) in &pulled.there {
        writeln!(out, "{model}: is there already, {}; remove it to pull it again", file.display())?;
    }
    for (model, file) in &pulled.taken {
        writeln!(out, "{model}: {}", file.display())?;
    }
    if let Some(archive) = &pulled.kept {
        writeln!(
            out,
            "The archive is kept for the models still in it ({}); remove it if you want no more of \
             them: {}",
            DecimalBytes(ECCV2018.size),
            archive.display()
        )?;
    }
    Ok(())
}
