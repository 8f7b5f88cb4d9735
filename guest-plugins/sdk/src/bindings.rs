//! What `wit/plugin` says, in Rust: the context once, and each hook in a world of its own, so that a plugin exports only
//! the hooks that it has.
//!
//! The linker drops every import that a plugin does not use, and with it the world's claim to it.

/// All of the context. No exports.
mod context {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "
            package hermetic:sdk;
            world context {
                import hermetic:plugin/types@0.1.0;
                import hermetic:plugin/facts@0.1.0;
                import hermetic:plugin/header@0.1.0;
                import hermetic:plugin/body@0.1.0;
                import hermetic:plugin/edit@0.1.0;
                import hermetic:plugin/forwarding@0.1.0;
                import hermetic:plugin/quarantine@0.1.0;
                import hermetic:plugin/reply@0.1.0;
                import hermetic:plugin/scratch@0.1.0;
                import hermetic:plugin/rendered@0.1.0;
                import hermetic:plugin/attempt@0.1.0;
                import hermetic:plugin/fate@0.1.0;
                import hermetic:plugin/log@0.1.0;
                import hermetic:plugin/config@0.1.0;
                import hermetic:plugin/keyvalue@0.1.0;
                import hermetic:plugin/resolver@0.1.0;
                import hermetic:plugin/http@0.1.0;
            }
        ",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use context::hermetic::plugin::*;

/// The world of one hook.
pub mod on_connection {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-connection { export hermetic:plugin/on-connection@0.1.0; }",
        with: { "hermetic:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        export_macro_name: "export_on_connection",
        default_bindings_module: "hermetic_plugin::bindings::on_connection",
    });
    pub use exports::hermetic::plugin::on_connection::Guest;
}

/// The world of one hook.
pub mod on_sender {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-sender { export hermetic:plugin/on-sender@0.1.0; }",
        with: { "hermetic:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        export_macro_name: "export_on_sender",
        default_bindings_module: "hermetic_plugin::bindings::on_sender",
    });
    pub use exports::hermetic::plugin::on_sender::Guest;
}

/// The world of one hook.
pub mod on_recipient {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-recipient { export hermetic:plugin/on-recipient@0.1.0; }",
        with: { "hermetic:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        export_macro_name: "export_on_recipient",
        default_bindings_module: "hermetic_plugin::bindings::on_recipient",
    });
    pub use exports::hermetic::plugin::on_recipient::Guest;
}

/// The world of one hook.
pub mod on_message {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-message { export hermetic:plugin/on-message@0.1.0; }",
        with: { "hermetic:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        export_macro_name: "export_on_message",
        default_bindings_module: "hermetic_plugin::bindings::on_message",
    });
    pub use exports::hermetic::plugin::on_message::Guest;
}

/// The world of one hook.
pub mod on_recipient_message {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-recipient-message { export hermetic:plugin/on-recipient-message@0.1.0; }",
        with: { "hermetic:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        export_macro_name: "export_on_recipient_message",
        default_bindings_module: "hermetic_plugin::bindings::on_recipient_message",
    });
    pub use exports::hermetic::plugin::on_recipient_message::Guest;
}

/// The world of one hook.
pub mod on_delivery {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-delivery { export hermetic:plugin/on-delivery@0.1.0; }",
        with: { "hermetic:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        export_macro_name: "export_on_delivery",
        default_bindings_module: "hermetic_plugin::bindings::on_delivery",
    });
    pub use exports::hermetic::plugin::on_delivery::Guest;
}

/// The world of one hook.
pub mod on_report {
    wit_bindgen::generate!({
        path: "../../wit/plugin",
        inline: "package hermetic:sdk; world on-report { export hermetic:plugin/on-report@0.1.0; }",
        pub_export_macro: true,
        export_macro_name: "export_on_report",
        default_bindings_module: "hermetic_plugin::bindings::on_report",
    });
    pub use exports::hermetic::plugin::on_report::Guest;
}
