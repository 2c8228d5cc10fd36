//! Which methods there are, and how they are called.

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `socialize.exportUsers`
    ExportUsers,
    /// `socialize.getToken`
    GetToken,
    /// `socialize.importIdentities`
    ImportIdentities,
    /// `socialize.notifyRegistration`
    NotifyRegistration,
    /// `socialize.setUID`
    SetUid,
    /// `socialize.getUserInfo`
    GetUserInfo,
    /// `socialize.deleteAccount`
    DeleteAccount,
}

impl Verb {
    /// Every method.
    pub const ALL: [Self; 7] = [
        Self::ExportUsers,
        Self::GetToken,
        Self::ImportIdentities,
        Self::NotifyRegistration,
        Self::SetUid,
        Self::GetUserInfo,
        Self::DeleteAccount,
    ];

    /// The name: its path is `/` and this.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExportUsers => "socialize.exportUsers",
            Self::GetToken => "socialize.getToken",
            Self::ImportIdentities => "socialize.importIdentities",
            Self::NotifyRegistration => "socialize.notifyRegistration",
            Self::SetUid => "socialize.setUID",
            Self::GetUserInfo => "socialize.getUserInfo",
            Self::DeleteAccount => "socialize.deleteAccount",
        }
    }

    /// The method that a path names.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let name = path.strip_prefix('/')?;
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }

    /// HTTP methods that it takes.
    pub(crate) const fn http_methods(self) -> &'static str {
        match self {
            Self::ExportUsers | Self::GetUserInfo => "GET, HEAD, POST",
            Self::GetToken => "GET, POST",
            _ => "POST",
        }
    }
}
