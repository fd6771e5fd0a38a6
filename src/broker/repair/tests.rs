//! Frames as RabbitMQ sends them, in pieces of any size, read by lapin's own parser afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use amq_protocol::frame::{AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic};
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use lapin::BasicProperties;
use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::{Frames, NESTING_MAX, RepairedField, RepairedFields, Repairs};

/// Text in Latin-1: no UTF-8.
const LATIN: &[u8] = b"M\xfcller";

/// What comes out for pieces of these sizes, again and again.
fn through(repairs: &Arc<Repairs>, bytes: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut frames = Frames::new(Arc::clone(repairs));
    let (mut out, mut rest) = (Vec::new(), bytes);
    let mut taken = [0; 777];
    for size in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let room = frames.room();
        let size = (*size).max(1).min(rest.len()).min(room.len());
        let (piece, later) = rest.split_at(size);
        room[..size].copy_from_slice(piece);
        frames.arrived(size);
        rest = later;
        while let bytes @ 1.. = frames.take(&mut taken) {
            out.extend_from_slice(&taken[..bytes]);
        }
    }
    frames.finish();
    while let bytes @ 1.. = frames.take(&mut taken) {
        out.extend_from_slice(&taken[..bytes]);
    }
    out
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(size.to_be_bytes());
    frame.extend(payload);
    frame.push(0xce);
    frame
}

fn short(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short string");
    [&[length][..], text].concat()
}

fn deliver(tag: u64, exchange: &[u8], key: &[u8]) -> Vec<u8> {
    let parts = [
        vec![0, 60, 0, 60],
        short(b"ctag"),
        tag.to_be_bytes().to_vec(),
        vec![0],
        short(exchange),
        short(key),
    ];
    frame(1, 7, &parts.concat())
}

/// A content header with one property: the flag's place, and its bytes.
fn header(flag: u16, property: &[u8]) -> Vec<u8> {
    let flags = (0x8000_u16 >> flag).to_be_bytes();
    frame(2, 7, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], &flags, property].concat())
}

fn headers(table: &[u8]) -> Vec<u8> {
    let length = u32::try_from(table.len()).expect("a short table").to_be_bytes();
    header(2, &[&length[..], table].concat())
}

/// The frames that lapin's parser finds; all of the bytes must be frames.
fn parsed(mut bytes: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame) = parse_frame(bytes).expect("lapin's parser reads it");
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn fields(of: &[RepairedField]) -> RepairedFields {
    let mut set = RepairedFields::default();
    of.iter().for_each(|field| set.add(*field));
    set
}

/// Arrays within arrays, in a header `deep`.
fn nested(levels: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..levels {
        let length = u32::try_from(value.len()).expect("a short value").to_be_bytes();
        value = [&b"A"[..], &length, &value].concat();
    }
    [short(b"deep"), value].concat()
}

#[test]
fn each_field_is_repaired_and_recorded() {
    use RepairedField as Field;
    let plain = deliver(5, b"x", b"k");
    let name = [short(LATIN), vec![b'V']].concat();
    let length = |table: &[u8]| u32::try_from(table.len()).expect("short").to_be_bytes();
    let inner = [short(b"outer"), vec![b'F'], length(&name).to_vec(), name.clone()].concat();
    let array = [&[b'F'][..], &length(&name), &name].concat();
    let array = [short(b"list"), vec![b'A'], length(&array).to_vec(), array].concat();
    for (what, method, head, at) in [
        ("exchange", deliver(5, LATIN, b"k"), header(10, &short(b"t")), Field::Exchange),
        ("routing key", deliver(5, b"x", LATIN), header(10, &short(b"t")), Field::RoutingKey),
        ("content_type", plain.clone(), header(0, &short(LATIN)), Field::ContentType),
        ("content_encoding", plain.clone(), header(1, &short(LATIN)), Field::ContentEncoding),
        ("correlation_id", plain.clone(), header(5, &short(LATIN)), Field::CorrelationId),
        ("reply_to", plain.clone(), header(6, &short(LATIN)), Field::ReplyTo),
        ("expiration", plain.clone(), header(7, &short(LATIN)), Field::Expiration),
        ("message_id", plain.clone(), header(8, &short(LATIN)), Field::MessageId),
        ("type", plain.clone(), header(10, &short(LATIN)), Field::Type),
        ("user_id", plain.clone(), header(11, &short(LATIN)), Field::UserId),
        ("app_id", plain.clone(), header(12, &short(LATIN)), Field::AppId),
        ("cluster_id", plain.clone(), header(13, &short(LATIN)), Field::ClusterId),
        ("a header's name", plain.clone(), headers(&name), Field::HeaderName),
        ("a name in a table", plain.clone(), headers(&inner), Field::HeaderName),
        ("a name in an array", plain.clone(), headers(&array), Field::HeaderName),
        ("too deep", plain, headers(&nested(NESTING_MAX)), Field::HeaderNesting),
    ] {
        let repairs = Arc::new(Repairs::default());
        let sent = [method, head].concat();
        let out = through(&repairs, &sent, &[3, 50]);
        assert_eq!(out.len(), sent.len(), "{what}");
        assert_eq!(parsed(&out).len(), 2, "{what}");
        assert_eq!(repairs.take(7, 5), fields(&[at]), "{what}");
        assert_eq!(repairs.take(7, 5), RepairedFields::default(), "{what}: asked once");
        // Only bytes that are no UTF-8 have changed, or the letter of a type.
        let changed = sent.iter().zip(&out).filter(|(before, after)| before != after);
        let allowed = |(before, after): (&u8, &u8)| {
            (*before == 0xfc && *after == b'?') || (*before == b'A' && *after == b'x')
        };
        assert!(changed.clone().count() == 1 && changed.into_iter().all(allowed), "{what}");
        let words = fields(&[at]).words();
        assert_eq!(RepairedFields::from_words(&words), fields(&[at]), "{what}");
    }
}

#[test]
fn nesting_at_limit_passes_unchanged() {
    let repairs = Arc::new(Repairs::default());
    let sent = [deliver(1, b"x", b"k"), headers(&nested(NESTING_MAX - 1))].concat();
    assert_eq!(through(&repairs, &sent, &[4096]), sent);
    assert_eq!(repairs.take(7, 1), RepairedFields::default());
}

#[test]
fn nesting_beyond_limit_is_repaired() {
    let repairs = Arc::new(Repairs::default());
    let sent = [deliver(1, b"x", b"k"), headers(&nested(20_000))].concat();
    let out = through(&repairs, &sent, &[100_000]);
    assert_eq!(parsed(&out).len(), 2);
    assert_eq!(repairs.take(7, 1).describe(), "a header nests deeper than 32 levels");
}

#[test]
fn close_reason_cut_within_character_is_repaired() {
    let reason = [&[b'x'; 254][..], b"\xc3"].concat();
    let close = frame(1, 7, &[&[0, 20, 0, 40, 1, 0x96][..], &short(&reason), &[0; 4]].concat());
    let out = through(&Arc::default(), &close, &[close.len()]);
    let [AMQPFrame::Method(7, AMQPClass::Channel(_))] = &parsed(&out)[..] else {
        panic!("channel.close")
    };
}

#[test]
fn returned_message_is_not_recorded_and_new_channel_resets_tags() {
    let repairs = Arc::new(Repairs::default());
    let head = header(8, &short(LATIN));
    let returned = [&[0, 60, 0, 50, 0, 0][..], &short(b"r"), &short(b"x"), &short(b"k")].concat();
    let open_ok = frame(1, 7, &[0, 20, 0, 11, 0, 0, 0, 0]);
    let sent = [deliver(1, b"x", b"k"), head.clone(), frame(1, 7, &returned), head.clone()];
    parsed(&through(&repairs, &sent.concat(), &[9]));
    let again = [open_ok, deliver(2, b"x", b"k"), head].concat();
    parsed(&through(&repairs, &again, &[9]));
    assert_eq!(repairs.take(7, 1), RepairedFields::default(), "of the channel before");
    assert_eq!(repairs.take(7, 2), fields(&[RepairedField::MessageId]));
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

fn amqp_value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|it| AMQPValue::LongString(it.into())),
        proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|it| AMQPValue::ByteArray(it.into())),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|it| AMQPValue::FieldArray(FieldArray::from(it))),
            proptest::collection::btree_map(text(), inner, 0..4)
                .prop_map(|it| { AMQPValue::FieldTable(table(it)) }),
        ]
    })
}

fn table(pairs: BTreeMap<String, AMQPValue>) -> FieldTable {
    let pairs = pairs.into_iter().map(|(name, value)| (ShortString::from(name), value));
    FieldTable::from(pairs.collect::<BTreeMap<_, _>>())
}

prop_compose! {
    /// A delivery as lapin would write it: method, header, body.
    fn delivery()(
        tag in any::<u64>(),
        texts in proptest::array::uniform4(text()),
        pairs in proptest::collection::btree_map(text(), amqp_value(), 0..5),
        timestamp in any::<u64>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> Vec<u8> {
        let [exchange, key, id, kind] = texts.map(ShortString::from);
        let deliver = basic::Deliver {
            consumer_tag: "ctag".into(),
            delivery_tag: tag,
            redelivered: false,
            exchange,
            routing_key: key,
        };
        let properties = BasicProperties::default()
            .with_headers(table(pairs))
            .with_message_id(id)
            .with_timestamp(timestamp)
            .with_priority(3)
            .with_type(kind);
        let header = amq_protocol::frame::AMQPContentHeader {
            class_id: 60,
            body_size: body.len() as u64,
            properties,
        };
        let frames = [
            AMQPFrame::Method(7, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))),
            AMQPFrame::Header(7, header),
            AMQPFrame::Body(7, body),
            AMQPFrame::Heartbeat,
        ];
        frames.iter().flat_map(written).collect()
    }
}

fn written(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(Vec::new().into()).expect("it can be written").write
}

proptest! {
    #[test]
    fn valid_frames_pass_unchanged(
        deliveries in proptest::collection::vec(delivery(), 1..5),
        pieces in proptest::collection::vec(1_usize..3_000, 1..20),
    ) {
        let repairs = Arc::new(Repairs::default());
        let sent = deliveries.concat();
        prop_assert_eq!(through(&repairs, &sent, &pieces), sent);
        prop_assert_eq!(repairs.take(7, 0), RepairedFields::default());
    }

    #[test]
    fn arbitrary_short_strings_are_parseable_after_repair(
        texts in proptest::array::uniform3(proptest::collection::vec(any::<u8>(), 0..255)),
        pieces in proptest::collection::vec(1_usize..300, 1..20),
    ) {
        let [key, id, name] = &texts;
        let repairs = Arc::new(Repairs::default());
        let named = [short(name), b"t\x01".to_vec()].concat();
        let sent = [
            deliver(1, b"x", key), header(8, &short(id)),
            deliver(2, b"x", b"k"), headers(&named),
        ].concat();
        let out = through(&repairs, &sent, &pieces);
        prop_assert_eq!(parsed(&out).len(), 4);
        let is_bad = |text: &[u8]| std::str::from_utf8(text).is_err();
        let first = repairs.take(7, 1);
        prop_assert_eq!(first.contains(RepairedField::RoutingKey), is_bad(key));
        prop_assert_eq!(first.contains(RepairedField::MessageId), is_bad(id));
        prop_assert_eq!(repairs.take(7, 2).contains(RepairedField::HeaderName), is_bad(name));
    }

    #[test]
    fn arbitrary_bytes_keep_their_length(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        kinds in proptest::collection::vec(1_u8..4, 0..4),
        pieces in proptest::collection::vec(1_usize..700, 1..20),
    ) {
        // As it is, and as the payload of frames that are looked into.
        let framed: Vec<_> = kinds.iter().flat_map(|kind| frame(*kind, 7, &bytes)).collect();
        for sent in [bytes, framed] {
            prop_assert_eq!(through(&Arc::default(), &sent, &pieces).len(), sent.len());
        }
    }
}
