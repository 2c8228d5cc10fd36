//! Rounds of loads, exports and lookups, every engine in every round, each in a process of its own.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use headcount_benches::env_or;

use super::compact::Link;
use super::compare::same;
use super::keys::Keys;
use super::report::{self, Lane};
use super::{Home, Peer, Runner, Text};
use crate::engines::PEERS;
use crate::settings::Settings;
use crate::work::turns;
use crate::{Outcome, commits};

/// Figures that a child printed, by name.
type Figures = HashMap<String, f64>;

/// Where everything is.
struct Ground {
    dir: PathBuf,
    input: PathBuf,
    users: u64,
}

impl Ground {
    fn home(&self, peer: &Peer) -> Home {
        Home { dir: self.dir.join(peer.store), input: self.input.clone() }
    }

    fn reference(&self, text: Text) -> PathBuf {
        self.dir.join(format!("reference.{}", text.name()))
    }

    fn keys(&self, peer: &Peer) -> PathBuf {
        self.dir.join(format!("keys-{}.json", peer.lookups))
    }
}

/// The users as NDJSON, in the order of their numbers, which is none of their UIDs.
fn write_input(ground: &Ground) -> Outcome {
    #[derive(serde::Serialize)]
    struct User<'a> {
        #[serde(rename = "UID")]
        uid: &'a str,
        status: &'a str,
        identities: Vec<Link<'a>>,
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&ground.input)?);
    for user in (0..ground.users).map(crate::stores::user) {
        let link = |i: &headcount_block::Identity| Link {
            provider: i.provider.clone().into(),
            provider_uid: i.provider_uid.clone().into(),
        };
        let identities = user.identities.iter().map(link).collect();
        serde_json::to_writer(&mut out, &User { uid: &user.uid, status: user.status.as_str(), identities })?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Starts a process for one phase of one engine and reads its figures.
fn start(ground: &Ground, peer: &Peer, phase: &str, more: &[String]) -> Outcome<Figures> {
    // What others wrote must not be on its way to the disk while this one is measured.
    Command::new("sync").status()?;
    let home = ground.home(peer);
    let program = match peer.runner {
        Runner::Here { .. } => vec![std::env::current_exe()?.display().to_string(), "peer".to_owned()],
        Runner::Python(path) => {
            let python = peer.needs.and_then(|name| std::env::var(name).ok()).ok_or("no Python is named")?;
            vec![python, format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))]
        }
    };
    // Perhaps behind something like `taskset -c 0,1`.
    let before: String = env_or("HEADCOUNT_BENCH_WRAP", String::new());
    let words: Vec<String> = before.split_whitespace().map(str::to_owned).chain(program).collect();
    let (first, rest) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(first);
    command.args(rest).args([phase, peer.id]).args([&home.dir, &home.input]).args(more);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{}: {phase} ended with {}", peer.name, output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(figure).collect())
}

fn loads(peer: &Peer) -> bool {
    !matches!(peer.runner, Runner::Here { load: None, .. })
}

fn load(ground: &Ground, lane: &mut Lane) -> Outcome {
    let dir = ground.home(&lane.peer).dir;
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir(&dir)?;
    let figures = start(ground, &lane.peer, "load", &[])?;
    lane.add("load", figures);
    Ok(())
}

/// Exports, and compares with the reference. The first one ever, ours, becomes it.
fn export(ground: &Ground, lane: &mut Lane, text: Text) -> Outcome {
    let (to, reference) = (ground.dir.join("export"), ground.reference(text));
    let figures = start(ground, &lane.peer, "export", &[text.name().to_owned(), to.display().to_string()])?;
    lane.add(text.name(), figures);
    same(&reference, &to).map_err(|error| format!("{}, {}: {error}", lane.peer.name, text.name()))?;
    Ok(std::fs::remove_file(to)?)
}

fn lookups(ground: &Ground, lane: &mut Lane) -> Outcome {
    let mut more = vec![ground.users.to_string(), lane.peer.lookups.to_string()];
    if matches!(lane.peer.runner, Runner::Python(_)) {
        let keys = ground.keys(&lane.peer);
        if !keys.exists() {
            Keys::new(ground.users, lane.peer.lookups).write(&keys)?;
        }
        more = vec![keys.display().to_string()];
    }
    let figures = start(ground, &lane.peer, "lookups", &more)?;
    lane.add("lookups", figures);
    Ok(())
}

/// Our exports, that every other one has to equal; the vector, which is serde_json's work, among them.
fn write_references(ground: &Ground, lanes: &[Lane]) -> Outcome {
    let ours = lanes.first().ok_or("nothing to compare with")?;
    for text in Text::ALL {
        let to = ground.reference(text).display().to_string();
        start(ground, &ours.peer, "export", &[text.name().to_owned(), to])?;
    }
    Ok(())
}

/// The engines that can run here; of the others, why not.
fn lanes() -> Vec<Lane> {
    let only: String = env_or("HEADCOUNT_BENCH_PEERS", String::new());
    let wanted = |peer: &&Peer| {
        only.is_empty() || peer.id == "ours" || only.split(',').any(|name| name == peer.id || name == peer.store)
    };
    let lane = |peer: &Peer| {
        let missing = peer.needs.filter(|name| std::env::var(name).map_or(true, |value| value.is_empty()));
        let why = missing.map(|name| env_or(&format!("{name}_SKIPPED"), format!("{name} is not set")));
        Lane::new(*peer, why)
    };
    PEERS.iter().filter(wanted).map(lane).collect()
}

/// One phase of every engine, in another order in every round.
fn phase(
    lanes: &mut [Lane],
    round: usize,
    name: &str,
    has: impl Fn(&Peer) -> bool,
    mut work: impl FnMut(&mut Lane) -> Outcome,
) -> Outcome {
    for number in turns(lanes.len(), round) {
        if let Some(lane) = lanes.get_mut(number).filter(|lane| lane.skipped.is_none() && has(&lane.peer)) {
            eprintln!("round {}: {name}: {}", round + 1, lane.peer.name);
            work(lane)?;
        }
    }
    Ok(())
}

/// All rounds, then the tables.
pub(crate) fn run(dir: &Path) -> Outcome {
    let settings = Settings::or(1_000_000, 3);
    let ground = Ground { dir: dir.to_path_buf(), input: dir.join("users.ndjson"), users: settings.users.max(1) };
    let mut lanes = lanes();
    for lane in &lanes {
        if let Some(why) = &lane.skipped {
            eprintln!("#### SKIPPED: {}: {why} ####", lane.peer.name);
        }
    }
    write_input(&ground)?;
    for round in 0..settings.rounds {
        phase(&mut lanes, round, "load", loads, |lane| load(&ground, lane))?;
        if round == 0 {
            write_references(&ground, &lanes)?;
        }
        for text in Text::ALL {
            let has = |peer: &Peer| peer.exports.contains(&text);
            phase(&mut lanes, round, text.name(), has, |lane| export(&ground, lane, text))?;
        }
        phase(&mut lanes, round, "lookups", |peer| peer.lookups > 0, |lane| lookups(&ground, lane))?;
    }
    let rounds = (settings.rounds * 10).min(100);
    let durable = commits::one_user(&dir.join("commits"), settings.users.min(100_000), rounds)?;
    let input = std::fs::metadata(&ground.input)?.len();
    let [json, csv, _] = Text::ALL.map(|text| std::fs::metadata(ground.reference(text)).map_or(0, |m| m.len()));
    println!(
        "{} users, {} rounds; input {} MB, JSON {} MB, CSV {} MB; every export had the same bytes, every lookup the \
         right answers\n",
        settings.users,
        settings.rounds,
        input / 1_000_000,
        json / 1_000_000,
        csv / 1_000_000,
    );
    report::print(&lanes, settings.users, &durable);
    Ok(())
}
