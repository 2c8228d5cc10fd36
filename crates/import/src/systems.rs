//! The systems whose exports can be read, and that users can be written for: tables of shapes and mappings.

mod auth0;
mod authentik;
mod casdoor;
mod clerk;
mod cognito;
mod firebase;
mod fusionauth;
mod gigya;
mod graph;
mod keycloak;
mod kratos;
mod ldif;
mod links;
mod logto;
mod map;
mod okta;
mod scim;
mod supabase;
mod workos;
mod zitadel;

pub(crate) use auth0::split as split_user_id;
pub(crate) use firebase::COLUMNS as FIREBASE_COLUMNS;
pub(crate) use gigya::FINALIZE;
pub(crate) use map::map as by_mapping;

use crate::back::Back;
use crate::spec::Spec;

/// The systems that users can be written for.
pub(crate) const BACK: [&Back; 4] = [&auth0::BACK, &firebase::BACK, &keycloak::BACK, &kratos::BACK];

/// All systems.
pub(crate) fn all() -> impl Iterator<Item = &'static Spec> {
    const ALL: [&Spec; 24] = [
        &gigya::IMPORT,
        &gigya::SEARCH,
        &auth0::SPEC,
        &firebase::SPEC,
        &keycloak::SPEC,
        &cognito::SPEC,
        &kratos::SPEC,
        &supabase::SPEC,
        &graph::SPEC,
        &zitadel::SPEC,
        &logto::SPEC,
        &casdoor::SPEC,
        &clerk::SPEC,
        &workos::SPEC,
        &okta::SPEC,
        &authentik::SPEC,
        &fusionauth::SPEC,
        &links::NEXTAUTH,
        &links::OMNIAUTH,
        &links::ASPNET,
        &links::BETTER_AUTH,
        &scim::SPEC,
        &ldif::SPEC,
        &map::SPEC,
    ];
    ALL.into_iter()
}
