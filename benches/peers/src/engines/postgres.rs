//! PostgreSQL over a Unix socket: two tables, binary COPY in and out.

use std::path::Path;

use postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutIter};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::Type;
use postgres::{Client, NoTls, Row as Found};

use crate::Outcome;
use crate::peers::compact::{self, Row};
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::{FEW, Home, Peer, Reader, Text, sorted};

/// A connection string to a server that the script started.
const SERVER: &str = "HEADCOUNT_PEERS_POSTGRES";

pub(super) const PEER: Peer =
    Peer { lookups: FEW, needs: Some(SERVER), ..Peer::new("postgres", "PostgreSQL, over a Unix socket", load, open) };

/// UIDs of a batch.
const MANY: usize = 1_000;

fn connect() -> Outcome<Client> {
    let mut client = Client::connect(&std::env::var(SERVER)?, NoTls)?;
    client
        .batch_execute("SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 2; SET jit = off;")?;
    Ok(client)
}

fn text(bytes: &[u8]) -> Outcome<&str> {
    Ok(std::str::from_utf8(bytes)?)
}

/// COPY in key order into tables of the same transaction, which needs no log; indexes and constraints last.
fn load(home: &Home) -> Outcome {
    let input = sorted::read(&home.input, compact::encode, false)?;
    let mut client = connect()?;
    client.batch_execute("DROP TABLE IF EXISTS users, identities; CHECKPOINT;")?;
    let mut transaction = client.transaction()?;
    transaction.batch_execute(
        "CREATE TABLE users (uid text NOT NULL, pending bool NOT NULL);
         CREATE TABLE identities (
             uid text NOT NULL, ord int NOT NULL, provider text NOT NULL, provider_uid text NOT NULL);",
    )?;
    let writer = transaction.copy_in("COPY users FROM STDIN (FORMAT binary, FREEZE)")?;
    let mut writer = BinaryCopyInWriter::new(writer, &[Type::TEXT, Type::BOOL]);
    input.users.each(|uid, row| Ok(writer.write(&[&text(uid)?, &Row::new(row)?.1])?))?;
    writer.finish()?;
    let writer = transaction.copy_in("COPY identities FROM STDIN (FORMAT binary, FREEZE)")?;
    let mut writer = BinaryCopyInWriter::new(writer, &[Type::TEXT, Type::INT4, Type::TEXT, Type::TEXT]);
    input.users.each(|uid, row| {
        let uid = text(uid)?;
        for (order, (provider, provider_uid)) in (0_i32..).zip(Row::new(row)?.0) {
            writer.write(&[&uid, &order, &text(provider)?, &text(provider_uid)?])?;
        }
        Ok(())
    })?;
    writer.finish()?;
    transaction.batch_execute(
        "ALTER TABLE users ADD PRIMARY KEY (uid);
         ALTER TABLE identities ADD PRIMARY KEY (uid, ord);
         CREATE UNIQUE INDEX identities_by_name ON identities (provider, provider_uid);",
    )?;
    transaction.commit()?;
    Ok(client.batch_execute("CHECKPOINT; ANALYZE users, identities;")?)
}

struct Loaded(Client);

fn open(_: &Home) -> Outcome<Box<dyn Reader>> {
    Ok(Box::new(Loaded(connect()?)))
}

/// Rows of one user: pending, provider, providerUID.
fn see(rows: &[Found], seen: &mut Seen) -> Outcome {
    for (number, row) in rows.iter().enumerate() {
        if number == 0 {
            seen.head(row.try_get(0)?);
        }
        if let (Some(provider), Some(uid)) = (row.try_get::<_, Option<&str>>(1)?, row.try_get::<_, Option<&str>>(2)?) {
            seen.link(provider.as_bytes(), uid.as_bytes());
        }
    }
    Ok(())
}

impl Reader for Loaded {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let mut output = Output::create(to, text)?;
        // A merge of two walks over indexes; anything else would sort.
        self.0.batch_execute("SET enable_hashjoin = off; SET enable_nestloop = off; SET enable_sort = off;")?;
        let reader = self.0.copy_out(
            "COPY (SELECT u.uid, i.provider, i.provider_uid FROM users u LEFT JOIN identities i ON i.uid = u.uid
                   WHERE NOT u.pending ORDER BY u.uid, i.ord) TO STDOUT (FORMAT binary)",
        )?;
        let mut rows = BinaryCopyOutIter::new(reader, &[Type::TEXT, Type::TEXT, Type::TEXT]);
        let mut last: Vec<u8> = Vec::new();
        let mut open = false;
        while let Some(row) = rows.next()? {
            let uid: &str = row.try_get(0)?;
            if !open || uid.as_bytes() != last {
                if open {
                    output.end()?;
                }
                output.begin(uid.as_bytes());
                last.clear();
                last.extend_from_slice(uid.as_bytes());
                open = true;
            }
            if let (Some(provider), Some(uid)) = (row.try_get::<Option<&str>>(1)?, row.try_get::<Option<&str>>(2)?) {
                output.link(provider.as_bytes(), uid.as_bytes());
            }
        }
        if open {
            output.end()?;
        }
        output.finish()
    }

    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome {
        let get = self.0.prepare(
            "SELECT u.pending, i.provider, i.provider_uid FROM users u LEFT JOIN identities i ON i.uid = u.uid
             WHERE u.uid = $1 ORDER BY i.ord",
        )?;
        uids.iter().try_for_each(|uid| see(&self.0.query(&get, &[uid])?, seen))
    }

    fn get_many(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome<bool> {
        let get = self.0.prepare(
            "SELECT k.nth, u.pending, i.provider, i.provider_uid FROM unnest($1::text[]) WITH ORDINALITY AS k (uid, nth)
             JOIN users u ON u.uid = k.uid LEFT JOIN identities i ON i.uid = u.uid ORDER BY k.nth, i.ord",
        )?;
        for uids in uids.chunks(MANY) {
            let mut last = None;
            for row in self.0.query(&get, &[&uids])? {
                let nth: i64 = row.try_get(0)?;
                if last != Some(nth) {
                    seen.head(row.try_get(1)?);
                    last = Some(nth);
                }
                if let (Some(provider), Some(uid)) =
                    (row.try_get::<_, Option<&str>>(2)?, row.try_get::<_, Option<&str>>(3)?)
                {
                    seen.link(provider.as_bytes(), uid.as_bytes());
                }
            }
        }
        Ok(true)
    }

    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome {
        let find = self.0.prepare(
            "SELECT u.pending, i.provider, i.provider_uid
             FROM identities k JOIN users u ON u.uid = k.uid JOIN identities i ON i.uid = k.uid
             WHERE k.provider = $1 AND k.provider_uid = $2 ORDER BY i.ord",
        )?;
        links.iter().try_for_each(|(provider, uid)| see(&self.0.query(&find, &[provider, uid])?, seen))
    }

    fn disk(&mut self) -> Outcome<Option<u64>> {
        let row =
            self.0.query_one("SELECT pg_total_relation_size('users') + pg_total_relation_size('identities')", &[])?;
        Ok(Some(u64::try_from(row.try_get::<_, i64>(0)?)?))
    }
}
