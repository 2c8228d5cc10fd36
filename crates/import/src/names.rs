//! Names of providers: kept as they are, or known spellings brought to Gigya's.

/// What becomes of the names of providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProviderNames {
    /// They stay as they are.
    #[default]
    Kept,
    /// Known spellings become the name that Gigya has for the provider; others stay as they are.
    Gigya,
}

/// Gigya's name, and what other systems write for it, in any case. `googleplus` is a provider of its own.
const SPELLINGS: [(&str, &[&str]); 15] = [
    ("google", &["google.com", "google-oauth2", "oauth_google", "google", "GoogleOAuth"]),
    ("facebook", &["facebook.com", "oauth_facebook", "facebook", "FacebookOAuth"]),
    ("apple", &["apple.com", "oauth_apple", "apple", "AppleOAuth", "SignInWithApple"]),
    ("twitter", &["twitter.com", "oauth_twitter", "twitter", "oauth_x", "twitter2"]),
    ("github", &["github.com", "oauth_github", "github", "GitHubOAuth"]),
    ("microsoft", &["microsoft.com", "oauth_microsoft", "microsoft", "MicrosoftOAuth", "windowslive"]),
    ("linkedin", &["linkedin.com", "oauth_linkedin", "oauth_linkedin_oidc", "linkedin", "linkedin-openid-connect"]),
    ("yahoo", &["yahoo.com", "oauth_yahoo", "yahoo"]),
    ("amazon", &["amazon.com", "oauth_amazon", "amazon", "LoginWithAmazon"]),
    ("instagram", &["instagram.com", "oauth_instagram", "instagram"]),
    ("paypal", &["paypal.com", "oauth_paypal", "paypal"]),
    ("vkontakte", &["vk.com", "vk", "vkontakte", "oauth_vk"]),
    ("line", &["line.me", "oauth_line", "line"]),
    ("gitlab", &["gitlab.com", "oauth_gitlab", "gitlab", "GitLabOAuth"]),
    ("discord", &["discord.com", "oauth_discord", "discord", "DiscordOAuth"]),
];

impl ProviderNames {
    /// The name for `provider`.
    #[must_use]
    #[inline]
    pub fn of(self, provider: &str) -> &str {
        match self {
            Self::Kept => provider,
            Self::Gigya => spelled(provider),
        }
    }
}

/// The names that a system has for providers, its first choice in front, each beside Gigya's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnNames(pub(crate) &'static [(&'static str, &'static [&'static str])]);

impl OwnNames {
    /// What the system calls `provider`: names of its own stay, other systems' spellings become the system's, and unknown
    /// names stay too.
    pub(crate) fn of(self, provider: &str) -> &str {
        let gigya = spelled(provider);
        let own = self.0.iter().find(|(name, _)| *name == gigya).map_or(&[][..], |(_, own)| own);
        if own.contains(&provider) { provider } else { own.first().copied().unwrap_or(provider) }
    }
}

fn spelled(provider: &str) -> &str {
    let known = |spellings: &[&str]| spellings.iter().any(|s| s.eq_ignore_ascii_case(provider));
    SPELLINGS.iter().find(|(_, spellings)| known(spellings)).map_or(provider, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_gets_its_own_names_and_keeps_those_that_it_has() {
        let names = OwnNames(&[("google", &["google-oauth2"]), ("linkedin", &["linkedin", "linkedin-openid-connect"])]);
        for (provider, own) in [
            ("google", "google-oauth2"),
            ("google.com", "google-oauth2"),
            ("Google", "google-oauth2"),
            ("oauth_linkedin", "linkedin"),
            ("linkedin-openid-connect", "linkedin-openid-connect"),
            ("googleplus", "googleplus"),
            ("github.com", "github.com"),
            ("site", "site"),
        ] {
            assert_eq!(names.of(provider), own);
        }
    }

    #[test]
    fn known_spellings_become_one_and_others_stay() {
        for name in ["google.com", "google-oauth2", "oauth_google", "Google", "GoogleOAuth", "google"] {
            assert_eq!(ProviderNames::Gigya.of(name), "google");
            assert_eq!(ProviderNames::Kept.of(name), name);
        }
        for name in ["googleplus", "site", "saml-acme", "Google Workspace", ""] {
            assert_eq!(ProviderNames::Gigya.of(name), name);
        }
    }
}
