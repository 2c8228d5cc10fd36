//! A source in memory, populations to put into it, and an oracle that shares no code with the crate.
#![allow(dead_code, unreachable_pub, reason = "every test binary compiles this module and uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use headcount_block::*;
use headcount_export::{Field, Fields, Format};

/// A deterministic stream of numbers.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn text(&mut self, alphabet: &[char], lens: Range<usize>) -> String {
        let len = lens.start + self.below(lens.len());
        (0..len).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// What a population is like. Percentages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recipe {
    pub users: usize,
    pub pending: usize,
    pub bare: usize,
    pub escapes: usize,
    pub long: usize,
    pub unicode: usize,
    pub providers: usize,
    pub nasty_providers: bool,
}

pub fn population(recipe: Recipe, seed: u64) -> Vec<User> {
    let mut rng = Rng(seed | 1);
    let plain: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("_-+/=.".chars()).collect();
    let nasty: Vec<char> = plain.iter().copied().chain("\"\\,\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}".chars()).collect();
    let unicode: Vec<char> = plain.iter().copied().chain("é日本語€😀\u{2028}".chars()).collect();
    let mut users = BTreeMap::new();
    while users.len() < recipe.users {
        let alphabet = |rng: &mut Rng| match () {
            () if rng.chance(recipe.escapes) => &nasty,
            () if rng.chance(recipe.unicode) => &unicode,
            () => &plain,
        };
        let letters = alphabet(&mut rng);
        let uid = if rng.chance(recipe.long) { rng.text(letters, 40..250) } else { rng.text(letters, 1..49) };
        let mut user = User::new(uid);
        if rng.chance(recipe.pending) {
            user.status = Status::Pending;
        }
        let count = if rng.chance(recipe.bare) { 0 } else { 1 + rng.below(4) };
        for _ in 0..count {
            let provider = rng.below(recipe.providers.max(1));
            let provider = match provider {
                1 if recipe.nasty_providers => "my,\"own\"\\\n=x".to_owned(),
                2 if recipe.nasty_providers => "\u{1}".repeat(128),
                3 if recipe.nasty_providers => "p".repeat(128),
                n => format!("provider{n}"),
            };
            let letters = alphabet(&mut rng);
            let id = if rng.chance(recipe.long) { rng.text(letters, 30..1300) } else { rng.text(letters, 1..22) };
            let identity = Identity::new(provider, id);
            if !user.identities.contains(&identity) {
                user.identities.push(identity);
            }
        }
        users.insert(user.uid.clone(), user);
    }
    users.into_values().collect()
}

struct StoredBlock {
    bytes: Vec<u8>,
    first: Vec<u8>,
}

/// How a source misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Byte `at` of block `block` is flipped; changes fail after the last of them.
    Flip { block: usize, at: usize },
    /// The same, and the block's checksums are not looked at: a builder that was wrong.
    Unchecked { block: usize, at: usize },
    /// The totals state one user too many.
    Totals,
    /// Visiting a part from the second on takes this many milliseconds more.
    Slow { ms: u64 },
    /// Visiting a part from block `block` on panics.
    Panic { block: usize },
}

struct Inner {
    users: Vec<User>,
    overlay: BTreeMap<Vec<u8>, Vec<u8>>,
    dict: Dictionary,
    blocks: Vec<StoredBlock>,
    totals: Totals,
    fail: Option<Fail>,
    blocks_a_part: usize,
    pub visits: AtomicUsize,
    cancel_at: OnceLock<(usize, Arc<Progress>)>,
}

/// Users in memory: blocks, and over them rows that replace or join those of the blocks.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

fn encode(user: &User) -> Vec<u8> {
    let mut row = RowBuf::new();
    row.encode(user).unwrap().as_bytes().to_vec()
}

pub fn totals_of<'a>(users: impl IntoIterator<Item = &'a User>) -> Totals {
    let mut totals = Totals::default();
    for user in users {
        totals.add_user(&UserRef::from(RowRef::parse(&encode(user)).unwrap()));
    }
    totals
}

impl Memory {
    /// Clean blocks of `block_users` users each.
    pub fn new(users: &[User], block_users: usize) -> Self {
        Self::with(users, block_users, 0, None)
    }

    /// Of every `overlay` users one is not, or not in its last state, in a block (0: none).
    pub fn with(users: &[User], block_users: usize, overlay: usize, fail: Option<Fail>) -> Self {
        let mut names = DictionaryBuilder::new();
        names.add(b"stale", 1).unwrap();
        for identity in users.iter().flat_map(|u| &u.identities) {
            names.add(identity.provider.as_bytes(), 1).unwrap();
        }
        let dict = names.finish().unwrap();
        let mut in_blocks = Vec::new();
        let mut rows = BTreeMap::new();
        for (i, user) in users.iter().enumerate() {
            if overlay == 0 || i % overlay != overlay - 1 {
                in_blocks.push(user.clone());
                continue;
            }
            rows.insert(user.uid.clone().into_bytes(), encode(user));
            if i % 2 == 0 {
                in_blocks.push(User::new(user.uid.clone()).with_identity("stale", "1"));
            }
        }
        let blocks = in_blocks.chunks(block_users).map(|users| {
            let mut builder = BlockBuilder::new();
            for user in users {
                let row = encode(user);
                builder.push(&UserRef::from(RowRef::parse(&row).unwrap()), &dict, 1).unwrap();
            }
            let mut bytes = Vec::new();
            builder.finish(BlockId { file: 1, number: 0 }, &mut bytes);
            StoredBlock { bytes, first: users[0].uid.clone().into_bytes() }
        });
        let mut blocks: Vec<StoredBlock> = blocks.collect();
        let mut totals = totals_of(users);
        match fail {
            Some(Fail::Flip { block, at } | Fail::Unchecked { block, at }) => blocks[block].bytes[at] ^= 0x10,
            Some(Fail::Totals) => totals.registered.users += 1,
            Some(Fail::Panic { .. } | Fail::Slow { .. }) | None => {}
        }
        Self(Arc::new(Inner {
            users: users.to_vec(),
            overlay: rows,
            dict,
            blocks,
            totals,
            fail,
            blocks_a_part: 2,
            visits: AtomicUsize::new(0),
            cancel_at: OnceLock::new(),
        }))
    }

    /// Cancels `progress` after the change of this number, of those of all passes; 0: before the first.
    pub fn cancel_at(&self, change: usize, progress: &Arc<Progress>) {
        self.0.cancel_at.set((change, Arc::clone(progress))).unwrap();
    }

    fn shown(&self, change: usize) {
        if let Some((_, progress)) = self.0.cancel_at.get().filter(|(at, _)| *at == change) {
            progress.cancel();
        }
    }

    pub fn visits(&self) -> usize {
        self.0.visits.load(Relaxed)
    }

    /// How many handles on this source there are: threads that still run hold some.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    fn is_dirty(&self) -> bool {
        !self.0.overlay.is_empty()
    }
}

impl Source for Memory {
    fn origin(&self) -> Origin {
        Origin { store_id: 0xabcd, incarnation: 0xef01, seq: 42, time_ms: 1_427_024_545_943 }
    }

    fn totals(&self) -> Totals {
        self.0.totals
    }

    fn measure(&self, select: &Select, scan: Scan) -> Result<Option<Measured>, Error> {
        if select.after.is_none() && select.limit.is_none() {
            return Ok(Some(Measured { totals: self.0.totals.selected(select.include_pending), end: None }));
        }
        if self.is_dirty() && scan == Scan::Never {
            return Ok(None);
        }
        let selected: Vec<&User> = oracle_select(&self.0.users, select).collect();
        let whole = oracle_select(&self.0.users, &Select { limit: None, ..select.clone() }).count();
        let end = selected.last().filter(|_| selected.len() < whole).map(|u| u.uid.clone().into_bytes());
        Ok(Some(Measured { totals: totals_of(selected), end }))
    }

    fn parts<'s>(
        &'s self,
        range: &UidRange,
    ) -> Result<Box<dyn Iterator<Item = Result<Part, Error>> + Send + 's>, Error> {
        let range = range.clone();
        let blocks = &self.0.blocks;
        let starts: Vec<usize> = (0..blocks.len()).step_by(self.0.blocks_a_part).collect();
        let mut parts = Vec::new();
        for (i, &from) in starts.iter().enumerate() {
            let start = if i == 0 { Bound::Unbounded } else { Bound::Included(blocks[from].first.clone()) };
            let end = starts.get(i + 1).map_or(Bound::Unbounded, |&b| Bound::Excluded(blocks[b].first.clone()));
            let part = UidRange { start, end };
            // Cut to the range that was asked for.
            let start = match (&part.start, &range.start) {
                (Bound::Included(own), Bound::Included(asked) | Bound::Excluded(asked)) if own <= asked => {
                    range.start.clone()
                }
                (Bound::Unbounded, _) => range.start.clone(),
                _ => part.start.clone(),
            };
            let end = match (&part.end, &range.end) {
                (Bound::Excluded(own), Bound::Included(asked)) if own > asked => range.end.clone(),
                (Bound::Unbounded, _) => range.end.clone(),
                _ => part.end.clone(),
            };
            parts.push(Ok(Part { range: UidRange { start, end }, bytes: 1 }));
        }
        Ok(Box::new(parts.into_iter()))
    }

    fn changes(&self, since: u64, each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let seq = self.origin().seq;
        if since > seq {
            return Err(Error::FutureSeq { since, seq });
        }
        // Every third user changed, and one is gone after each of them.
        let mut row = RowBuf::new();
        for (i, user) in self.0.users.iter().enumerate().filter(|(i, _)| since == 0 || i % 3 == 0) {
            let visit = self.0.visits.fetch_add(1, Relaxed) + 1;
            each(Change::User(row.encode(user).unwrap().into()))?;
            if since > 0 {
                each(Change::Deleted(format!("{}\"gone,{i}", user.uid).as_bytes()))?;
            }
            self.shown(visit);
        }
        // What is flipped in a block is found at the end.
        if matches!(self.0.fail, Some(Fail::Flip { .. })) { Err(Error::Stopped) } else { Ok(()) }
    }

    fn changes_while(
        &self,
        since: u64,
        go_on: &dyn Fn() -> Result<(), Error>,
        each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.shown(0);
        go_on()?;
        self.changes(since, each)
    }

    fn visit(&self, part: &Part, visitor: &mut dyn Visitor) -> Result<(), Error> {
        if self.0.visits.fetch_add(1, Relaxed) > 0
            && let Some(Fail::Slow { ms }) = self.0.fail
        {
            std::thread::sleep(std::time::Duration::from_millis(ms));
        }
        let file = Path::new("memory");
        let mut overlay = self.0.overlay.iter().filter(|(uid, _)| part.range.contains(uid)).peekable();
        for (number, stored) in self.0.blocks.iter().enumerate() {
            let next = self.0.blocks.get(number + 1).map(|b| b.first.as_slice());
            if part.range.is_after(&stored.first) || next.is_some_and(|next| part.range.is_before(next)) {
                continue;
            }
            if let Some(Fail::Panic { block }) = self.0.fail
                && number >= block
            {
                panic!("the source panics");
            }
            let damage = |fault: Fault| fault.at(file, 0);
            let block = Block::parse(&stored.bytes, &self.0.dict).map_err(damage)?;
            if !matches!(self.0.fail, Some(Fail::Unchecked { .. })) {
                block.verify(BlockId { file: 1, number: 0 }).map_err(damage)?;
            }
            let mut from = 0;
            let span = |rows: Range<usize>| Span::new(&block, rows, file, 0);
            for ordinal in 0..block.users() {
                let uid = block.user(ordinal).map_err(damage)?.uid();
                let inside = part.range.contains(uid);
                let before = overlay.peek().is_some_and(|(o, _)| o.as_slice() <= uid) || !inside;
                if !before {
                    continue;
                }
                if from < ordinal {
                    visitor.span(&span(from..ordinal))?;
                }
                from = if inside { ordinal } else { ordinal + 1 };
                while let Some((o, row)) = overlay.next_if(|(o, _)| o.as_slice() <= uid) {
                    visitor.row(RowRef::parse(row).unwrap())?;
                    if o.as_slice() == uid {
                        from = ordinal + 1;
                    }
                }
            }
            if from < block.users() {
                visitor.span(&span(from..block.users()))?;
            }
        }
        overlay.try_for_each(|(_, row)| visitor.row(RowRef::parse(row).unwrap()))
    }
}

/// The users that a selection holds, by the obvious way.
pub fn oracle_select<'u>(users: &'u [User], select: &Select) -> impl Iterator<Item = &'u User> {
    let (after, pending) = (select.after.clone(), select.include_pending);
    users
        .iter()
        .filter(move |u| after.as_ref().is_none_or(|a| u.uid.as_bytes() > a.as_slice()))
        .filter(move |u| pending || u.status == Status::Registered)
        .take(usize::try_from(select.limit.unwrap_or(u64::MAX)).unwrap())
}

fn json_user(user: &User, fields: &Fields) -> String {
    let text = |s: &str| serde_json::to_string(s).unwrap();
    let mut members = Vec::new();
    if fields.has(Field::Uid) {
        members.push(format!("\"UID\":{}", text(&user.uid)));
    }
    if fields.has(Field::Status) {
        members.push(format!("\"status\":{}", text(user.status.as_str())));
    }
    if fields.has_identities() {
        let identities = user.identities.iter().map(|i| {
            let mut members = Vec::new();
            if fields.has(Field::Provider) {
                members.push(format!("\"provider\":{}", text(&i.provider)));
            }
            if fields.has(Field::ProviderUid) {
                members.push(format!("\"providerUID\":{}", text(&i.provider_uid)));
            }
            format!("{{{}}}", members.join(","))
        });
        members.push(format!("\"identities\":[{}]", identities.collect::<Vec<_>>().join(",")));
    }
    format!("{{{}}}", members.join(","))
}

fn csv_file(users: &[&User], fields: &Fields) -> Vec<u8> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).flexible(false).from_writer(Vec::new());
    out.write_record(fields.iter().map(Field::as_str)).unwrap();
    for user in users {
        let mut rows: Vec<(&str, &str)> =
            user.identities.iter().map(|i| (i.provider.as_str(), i.provider_uid.as_str())).collect();
        if rows.is_empty() || !fields.has_identities() {
            rows = vec![rows.first().copied().unwrap_or_default()];
        }
        for (provider, provider_uid) in rows {
            out.write_record(fields.iter().map(|field| match field {
                Field::Uid => user.uid.as_str(),
                Field::Provider => provider,
                Field::ProviderUid => provider_uid,
                Field::Status => user.status.as_str(),
            }))
            .unwrap();
        }
    }
    out.into_inner().unwrap()
}

/// The export, by serde_json and csv. JSON: `callId` C, `time` T.
pub fn oracle(users: &[User], select: &Select, format: Format, fields: &Fields) -> Vec<u8> {
    let users: Vec<&User> = oracle_select(users, select).collect();
    match format {
        Format::Csv => csv_file(&users, fields),
        Format::Ndjson => users.iter().map(|u| json_user(u, fields) + "\n").collect::<String>().into_bytes(),
        Format::Json => {
            let identities: usize = users.iter().map(|u| u.identities.len()).sum();
            let identities = if fields.has_identities() { identities } else { 0 };
            let list: Vec<String> = users.iter().map(|u| json_user(u, fields)).collect();
            format!(
                concat!(
                    r#"{{"users":[{}],"usersCount":{},"identitiesCount":{},"statusCode":200,"errorCode":0,"#,
                    r#""statusReason":"OK","callId":"C","time":"T"}}"#
                ),
                list.join(","),
                users.len(),
                identities
            )
            .into_bytes()
        }
        other => panic!("no oracle for {other}"),
    }
}

/// Every ordered subset of the fields, or every set in one order.
pub fn field_lists(ordered: bool) -> Vec<Fields> {
    let mut lists = vec![Vec::new()];
    let mut at = 0;
    while at < lists.len() {
        let list: Vec<Field> = lists[at].clone();
        at += 1;
        for field in Field::ALL {
            let later = |f: &Field| Field::ALL.iter().position(|g| g == f);
            if !list.contains(&field) && (ordered || list.last().is_none_or(|last| later(last) < later(&field))) {
                lists.push([list.as_slice(), &[field]].concat());
            }
        }
    }
    lists.into_iter().filter_map(Fields::new).collect()
}

/// The seven users of the documented example.
pub fn seven() -> Vec<User> {
    let all = [
        ("_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=", vec![("twitter", "262710724"), ("facebook", "100002136853114")]),
        ("_gid_UnXMjySuZJwyz654w==", vec![("facebook", "622098199")]),
        ("_gid_kcugodwRh72tw==", vec![("twitter", "14047511")]),
        ("6625ID", vec![("site", "6625ID"), ("google", "115480002607925776950")]),
        ("AABCWA", vec![("site", "AABCWA")]),
        ("AAKODB", vec![("site", "AAKODB")]),
        ("AJDPHN", vec![("site", "AJDPHN")]),
    ];
    let mut users: Vec<User> = all
        .into_iter()
        .map(|(uid, ids)| ids.into_iter().fold(User::new(uid), |user, (p, u)| user.with_identity(p, u)))
        .collect();
    users.sort_by(|a, b| a.uid.cmp(&b.uid));
    users
}

/// Names of the files in a directory.
pub fn names(dir: &Path) -> BTreeSet<String> {
    dir.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}
