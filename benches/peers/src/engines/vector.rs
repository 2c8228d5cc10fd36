//! No engine: a vector in memory, sorted, with hash maps over it, read and written by serde_json.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::{CALL_ID, Home, Peer, Reader, TIME, Text};

pub(super) const PEER: Peer =
    Peer { is_store: false, ..Peer::new("vector", "serde_json over a vector in memory (keeps nothing)", load, open) };

#[derive(Serialize, Deserialize)]
struct User {
    #[serde(rename = "UID")]
    uid: String,
    #[serde(skip_serializing)]
    status: String,
    identities: Vec<Identity>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Hash)]
struct Identity {
    provider: String,
    #[serde(rename = "providerUID")]
    provider_uid: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    users: Vec<&'a User>,
    users_count: usize,
    identities_count: usize,
    status_code: u32,
    error_code: u32,
    status_reason: &'static str,
    call_id: &'static str,
    time: &'static str,
}

struct Vector {
    users: Vec<User>,
    by_uid: HashMap<String, usize>,
    by_identity: HashMap<Identity, usize>,
}

fn read(home: &Home) -> Outcome<Vector> {
    let mut users = Vec::new();
    for line in BufReader::with_capacity(1 << 20, File::open(&home.input)?).lines() {
        users.push(serde_json::from_str::<User>(&line?)?);
    }
    users.sort_unstable_by(|a, b| a.uid.cmp(&b.uid));
    let mut by_uid = HashMap::with_capacity(users.len());
    let mut by_identity = HashMap::with_capacity(users.len() * 2);
    for (number, user) in users.iter().enumerate() {
        let repeated = by_uid.insert(user.uid.clone(), number).is_some();
        let taken = user.identities.iter().any(|i| by_identity.insert(i.clone(), number).is_some());
        if repeated || taken {
            return Err(format!("the user {:?} or one of its identities is there twice", user.uid).into());
        }
    }
    Ok(Vector { users, by_uid, by_identity })
}

fn load(home: &Home) -> Outcome {
    read(home)?;
    Ok(())
}

fn open(home: &Home) -> Outcome<Box<dyn Reader>> {
    Ok(Box::new(read(home)?))
}

fn is_pending(user: &User) -> bool {
    user.status == "pending"
}

fn links(user: &User) -> impl Iterator<Item = (&[u8], &[u8])> {
    user.identities.iter().map(|i| (i.provider.as_bytes(), i.provider_uid.as_bytes()))
}

impl Vector {
    fn see(&self, number: Option<&usize>, seen: &mut Seen) {
        if let Some(user) = number.and_then(|number| self.users.get(*number)) {
            seen.user(is_pending(user), links(user));
        }
    }
}

impl Reader for Vector {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let users = self.users.iter().filter(|user| !is_pending(user));
        if text != Text::Json {
            let mut output = Output::create(to, text)?;
            for user in users {
                output.user(user.uid.as_bytes(), links(user))?;
            }
            return output.finish();
        }
        let users: Vec<&User> = users.collect();
        let mut out = BufWriter::with_capacity(256 << 10, File::create(to)?);
        let envelope = Envelope {
            users_count: users.len(),
            identities_count: users.iter().map(|user| user.identities.len()).sum(),
            users,
            status_code: 200,
            error_code: 0,
            status_reason: "OK",
            call_id: CALL_ID,
            time: TIME,
        };
        serde_json::to_writer(&mut out, &envelope)?;
        Ok(out.flush()?)
    }

    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome {
        for uid in uids {
            self.see(self.by_uid.get(*uid), seen);
        }
        Ok(())
    }

    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome {
        let mut key = Identity { provider: String::new(), provider_uid: String::new() };
        for (provider, provider_uid) in links {
            (*provider).clone_into(&mut key.provider);
            (*provider_uid).clone_into(&mut key.provider_uid);
            self.see(self.by_identity.get(&key), seen);
        }
        Ok(())
    }
}
