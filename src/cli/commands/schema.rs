//! `ceiling schema`

use anyhow::Result;
use ceiling_core::experiment::experiment_schema;
use ceiling_core::record::run_schema;

use crate::args::SchemaArgs;
use crate::exit::Exit;
use crate::store::replace;

/// Writes the schemas, or says which are stale.
pub fn schema(args: &SchemaArgs) -> Result<Exit> {
    let mut stale = false;
    for (name, schema) in [("experiment.schema.json", experiment_schema()), ("run.schema.json", run_schema())] {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema)?);
        let path = args.directory.join(name);
        let written = std::fs::read_to_string(&path);
        if written.as_ref().is_ok_and(|written| *written == text) {
            continue;
        }
        if args.check {
            let fault = match written {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is not there",
                _ => "is stale",
            };
            let directory = args.directory.display();
            tell!("{} {fault}: write it with `ceiling schema --directory {directory}`", path.display());
            stale = true;
        } else {
            std::fs::create_dir_all(&args.directory)?;
            replace(&path, text.as_bytes())?;
            say!("{}", path.display());
        }
    }
    Ok(if stale { Exit::Failed } else { Exit::Done })
}
