//! Answers of a loopback name server: signed, unsigned, changed, stripped, late and none.

use hickory_resolver::proto::{op::ResponseCode, rr::rdata::TLSA};

use super::{
    fake::{Server, Zone},
    *,
};

fn zone() -> Zone {
    let tlsa = TLSA::new(3.into(), 1.into(), 1.into(), vec![7; 32]);
    Zone::default()
        .mx("example.org", 20, "backup.example.org")
        .mx("example.org", 10, "mx.example.org")
        .mx("null.example", 0, ".")
        .address("mx.example.org", "192.0.2.1")
        .address("mx.example.org", "2001:db8::1")
        .address("four.example", "192.0.2.4")
        .alias("www.example", "mx.example.org")
        .alias("loop.example", "loop.example")
        .alias("dangling.example", "nobody.example.org")
        .txt("text.example", &["one ", "and two"])
        .ptr("192.0.2.1", "mx.example.org")
        .ptr("2001:db8::1", "six.example.org")
        .address("xn--mnchen-3ya.example", "192.0.2.5")
        .with("_25._tcp.mx.example.org", RData::TLSA(tlsa))
}

#[tokio::test]
async fn answers_of_every_kind() {
    let server = Server::start(zone()).await;
    let resolver = server.resolver();
    let mx = resolver.mx("Example.ORG").await.unwrap();
    let exchange = |preference, name: &str| Exchange { preference, name: name.into() };
    assert_eq!(mx.records, [exchange(10, "mx.example.org"), exchange(20, "backup.example.org")]);
    assert!(!mx.secure, "nobody looked");
    assert_eq!(resolver.mx("null.example").await.unwrap().records, [exchange(0, ".")]);
    let both = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(resolver.addresses("mx.example.org.").await.unwrap().records, both);
    assert_eq!(resolver.addresses("four.example").await.unwrap().records, ["192.0.2.4".parse::<IpAddr>().unwrap()]);
    assert_eq!(resolver.addresses("münchen.example").await.unwrap().name, "xn--mnchen-3ya.example");
    let alias = resolver.addresses("www.example").await.unwrap();
    assert_eq!((&*alias.name, &*alias.records), ("mx.example.org", &both[..]));
    assert_eq!(resolver.alias("www.example").await.unwrap().records, ["mx.example.org"]);
    assert_eq!(resolver.alias("mx.example.org").await, Err(NoAnswer::NotFound { exists: true, secure: false }));
    assert_eq!(resolver.txt("text.example").await.unwrap().records, [b"one and two"]);
    assert_eq!(resolver.ptr(both[0]).await.unwrap().records, ["mx.example.org"]);
    assert_eq!(resolver.ptr("::ffff:192.0.2.1".parse().unwrap()).await.unwrap().records, ["mx.example.org"]);
    assert_eq!(resolver.ptr(both[1]).await.unwrap().records, ["six.example.org"]);
    let tlsa = resolver.tlsa("_25._tcp.mx.example.org").await.unwrap().records;
    assert_eq!(tlsa, [Tlsa { usage: 3, selector: 1, matching: 1, data: vec![7; 32] }]);
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_nobody_knows() {
    let zone = zone()
        .silent("silent.example")
        .fails("broken.example", ResponseCode::ServFail)
        .fails("refused.example", ResponseCode::Refused);
    let server = Server::start(zone).await;
    let resolver = server.resolver();
    let none = |exists| Err(NoAnswer::NotFound { exists, secure: false });
    assert_eq!(resolver.mx("nobody.example").await, none(false));
    assert_eq!(resolver.mx("four.example").await, none(true));
    assert_eq!(resolver.addresses("text.example").await.map(drop), none(true).map(drop));
    assert_eq!(resolver.addresses("dangling.example").await.map(drop), none(false).map(drop));
    for bad in ["broken.example", "refused.example", "silent.example"] {
        let started = Instant::now();
        let error = resolver.mx(bad).await.unwrap_err();
        assert!(matches!(error, NoAnswer::Temporary(_)), "{bad}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(4), "{bad}: {:?}", started.elapsed());
    }
    assert!(resolver.addresses("loop.example").await.is_err());
    let long = "a".repeat(64);
    for bad in ["", "a..b", "a b", "a\0b", "a\\046b", &long, &"a.".repeat(200)] {
        assert!(matches!(resolver.mx(bad).await, Err(NoAnswer::Invalid(_))), "{bad:?}");
    }
}

#[tokio::test]
async fn what_is_known_is_not_asked_again() {
    let server = Server::start(zone()).await;
    let resolver = server.resolver();
    for name in ["example.org", "nobody.example"] {
        let first = resolver.mx(name).await;
        assert_eq!(server.asked(), [format!("MX {name}.")]);
        assert_eq!(resolver.clone().mx(&name.to_uppercase()).await, first);
        assert!(server.asked().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn what_does_not_fit_into_a_packet_comes_over_tcp() {
    let long = "x".repeat(250);
    let server = Server::start(Zone::default().txt("long.example", &[&*long; 40])).await;
    assert_eq!(server.resolver().txt("long.example").await.unwrap().records[0].len(), 10_000);
}

#[tokio::test]
async fn without_a_name_server_it_ends_in_time() {
    let gone = Server::start(Zone::default()).await.config();
    let started = Instant::now();
    let error = Resolver::new(&gone).unwrap().mx("example.org").await.unwrap_err();
    assert!(matches!(error, NoAnswer::Temporary(_)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn signatures_are_checked_from_the_root_on() {
    let (zone, anchors) = zone()
        .unsigned("open")
        .mx("host.open", 10, "mx.example.org")
        .mx("changed.example", 10, "evil.example")
        .forged("changed.example", true)
        .mx("stripped.example", 10, "evil.example")
        .forged("stripped.example", false)
        .alias("out.example", "host.open")
        .signed();
    let server = Server::start(zone).await;
    let resolver = server.checking(anchors);
    let secure = |name: &'static str| {
        let resolver = resolver.clone();
        async move { resolver.mx(name).await.map(|answer| answer.secure) }
    };
    assert_eq!(secure("example.org").await, Ok(true));
    assert_eq!(secure("host.open").await, Ok(false), "the zone says that it is not signed");
    assert_eq!(secure("out.example").await, Ok(false), "an alias that leads out");
    assert_eq!(secure("changed.example").await, Err(NoAnswer::Bogus));
    assert_eq!(secure("stripped.example").await, Err(NoAnswer::Bogus));
    assert_eq!(secure("nobody.example").await, Err(NoAnswer::NotFound { exists: false, secure: true }));
    assert_eq!(secure("four.example").await, Err(NoAnswer::NotFound { exists: true, secure: true }));
    assert_eq!(secure("nobody.open").await, Err(NoAnswer::NotFound { exists: false, secure: false }));
    assert!(resolver.alias("out.example").await.unwrap().secure, "its first step is signed");
    assert!(resolver.addresses("www.example").await.unwrap().secure);
    assert!(resolver.tlsa("_25._tcp.mx.example.org").await.unwrap().secure);
    server.asked();
    assert_eq!(secure("nobody.example").await, Err(NoAnswer::NotFound { exists: false, secure: true }));
    assert!(server.asked().is_empty(), "what is not there is remembered with its proof");
    // Keys of somebody else.
    let (_, others) = Zone::default().signed();
    assert_eq!(server.checking(others).mx("example.org").await, Err(NoAnswer::Bogus));
}
