//! A parser that is known for its speed, and does nothing but parse: what `benches/import_rates.py` compares imports with.

use std::time::Instant;

use serde::Deserialize;

use crate::Outcome;

#[derive(Deserialize)]
struct User<'a> {
    #[serde(rename = "UID", borrow)]
    uid: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    identities: Vec<Identity<'a>>,
}

#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow)]
    provider: std::borrow::Cow<'a, str>,
    #[serde(rename = "providerUID", borrow)]
    provider_uid: std::borrow::Cow<'a, str>,
}

/// `parse FILE`: parses a file of one user a line on one thread. Prints seconds, users, identities, and the bytes of text.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Outcome {
    let file = std::fs::read(arguments.next().ok_or("name a file of one user a line")?)?;
    let began = Instant::now();
    let (mut users, mut identities, mut text) = (0, 0, 0);
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let user: User<'_> = sonic_rs::from_slice(line)?;
        users += 1;
        identities += user.identities.len();
        text += user.uid.len();
        text += user.identities.iter().map(|i| i.provider.len() + i.provider_uid.len()).sum::<usize>();
    }
    println!("{:.4} {users} {identities} {text}", began.elapsed().as_secs_f64());
    Ok(())
}
