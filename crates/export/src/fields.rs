//! Which fields of a user are exported, in which order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A field of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// The UID.
    Uid,
    /// The provider of each identity.
    Provider,
    /// The providerUID of each identity.
    #[serde(rename = "providerUID")]
    ProviderUid,
    /// `registered` or `pending`.
    Status,
}

impl Field {
    /// Every field, in the order of JSON.
    pub const ALL: [Self; 4] = [Self::Uid, Self::Status, Self::Provider, Self::ProviderUid];

    /// The field's name in `fields` and in CSV headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Provider => "provider",
            Self::ProviderUid => "providerUID",
            Self::Status => "status",
        }
    }
}

/// An ordered set of fields, never empty. The order matters to CSV alone: JSON's is fixed.
///
/// Parsed from a comma list: names in any case, spaces and repeats ignored. As JSON it is a list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Field>", into = "Vec<Field>")]
pub struct Fields {
    order: [Option<Field>; 4],
}

impl Fields {
    /// These fields in this order; repeats count once. `None` when there are none.
    #[must_use]
    pub fn new(fields: impl IntoIterator<Item = Field>) -> Option<Self> {
        let mut this = Self { order: [None; 4] };
        for field in fields {
            if !this.has(field)
                && let Some(free) = this.order.iter_mut().find(|f| f.is_none())
            {
                *free = Some(field);
            }
        }
        this.order.iter().any(Option::is_some).then_some(this)
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field> + use<> {
        self.order.into_iter().flatten()
    }

    /// Whether `field` is one of them.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.order.contains(&Some(field))
    }

    /// Whether a field of identities is asked for.
    #[must_use]
    pub fn has_identities(&self) -> bool {
        self.has(Field::Provider) || self.has(Field::ProviderUid)
    }
}

impl Default for Fields {
    /// The three documented fields: `uid,provider,providerUID`.
    fn default() -> Self {
        Self { order: [Some(Field::Uid), Some(Field::Provider), Some(Field::ProviderUid), None] }
    }
}

impl From<Fields> for Vec<Field> {
    fn from(fields: Fields) -> Self {
        fields.iter().collect()
    }
}

impl TryFrom<Vec<Field>> for Fields {
    type Error = FieldsError;

    fn try_from(fields: Vec<Field>) -> Result<Self, FieldsError> {
        Self::new(fields).ok_or(FieldsError::Empty)
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, field) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(field.as_str())?;
        }
        Ok(())
    }
}

/// A list of fields that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldsError {
    /// A name that is no field.
    #[error("unknown field {0:?}: expected uid, provider, providerUID or status")]
    Unknown(String),
    /// No name at all.
    #[error("no field is named: expected some of uid, provider, providerUID, status")]
    Empty,
}

impl FromStr for Fields {
    type Err = FieldsError;

    fn from_str(list: &str) -> Result<Self, FieldsError> {
        let named = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let fields = named.map(|name| {
            let known = Field::ALL.into_iter().find(|f| f.as_str().eq_ignore_ascii_case(name));
            known.ok_or_else(|| FieldsError::Unknown(name.to_owned()))
        });
        Self::new(fields.collect::<Result<Vec<_>, _>>()?).ok_or(FieldsError::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_leniently() {
        let fields: Fields = " UID ,providerUID,, uid, PROVIDER,provideruid ".parse().unwrap();
        assert_eq!(fields.to_string(), "uid,providerUID,provider");
        assert!(fields.has_identities() && !fields.has(Field::Status));
        assert_eq!("uid,e-mail".parse::<Fields>(), Err(FieldsError::Unknown("e-mail".to_owned())));
        assert_eq!(" , ".parse::<Fields>(), Err(FieldsError::Empty));
        assert_eq!(Fields::default().to_string(), "uid,provider,providerUID");
        assert_eq!("status".parse::<Fields>().unwrap().iter().collect::<Vec<_>>(), [Field::Status]);
    }
}
