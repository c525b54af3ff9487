//! The noise function and the initialisers against `noise_vectors.json`: bits at single coordinates, and
//! SHA-256 sums of whole tensors in every type, all made by an independent NumPy program from the noise page.

use cdi_core::internal::noise::{block, hash, math, scalar};
use cdi_prune::init::{Generator, SchemeParams};
use cdi_prune::tensor::{FloatDtype, Layout, Shape};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn vectors() -> Value {
    serde_json::from_str(include_str!("noise_vectors.json")).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key}"))
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Seeds are reduced to 64 bits as two's complement.
fn seed(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value.as_i64().unwrap() as u64)
}

#[test]
fn hashes() {
    let vectors = vectors();
    assert_eq!(list(&vectors, "hash64").len(), 5);
    for v in list(&vectors, "hash64") {
        assert_eq!(hash::hash64(hex(&v["x"])), hex(&v["hash"]), "{v}");
    }
}

#[test]
fn single_coordinates() {
    let vectors = vectors();
    assert_eq!(list(&vectors, "coordinates").len(), 11);
    for v in list(&vectors, "coordinates") {
        let seed = seed(&v["seed"]);
        let [layer, i, j] = ["layer", "i", "j"].map(|key| v[key].as_u64().unwrap());
        let key = hash::row_key(seed, layer, i);
        assert_eq!(key, hex(&v["row_key"]), "{v}");
        let p = j / 2;
        assert_eq!(hash::draw(key, 2 * p), hex(&v["draw_2p"]), "{v}");
        assert_eq!(hash::draw(key, 2 * p + 1), hex(&v["draw_2p_plus_1"]), "{v}");
        let u1 = hash::unit(hash::draw(key, 2 * p)).max(scalar::U1_FLOOR);
        assert_eq!(math::ln(u1).to_bits(), hex(&v["ln_u1_bits"]), "{v}");
        assert_eq!(scalar::gaussian(seed, layer, i, j).to_bits(), hex(&v["gaussian_bits"]), "{v}");
        assert_eq!(scalar::uniform(seed, layer, i, j).to_bits(), hex(&v["uniform_bits"]), "{v}");
        let mut one = [0.0];
        block::fill_gaussian(key, j, &mut one);
        assert_eq!(one[0].to_bits(), hex(&v["gaussian_bits"]), "block: {v}");
        block::fill_uniform(key, j, &mut one);
        assert_eq!(one[0].to_bits(), hex(&v["uniform_bits"]), "block: {v}");
    }
}

#[test]
fn whole_tensors_in_every_type() {
    let vectors = vectors();
    assert_eq!(list(&vectors, "tensors").len(), 11);
    for v in list(&vectors, "tensors") {
        let dims = list(v, "shape").iter().map(|d| d.as_u64().unwrap() as usize).collect();
        let shape = Shape::new(dims).unwrap();
        let params = SchemeParams {
            low: v["low"].as_f64(),
            high: v["high"].as_f64(),
            zero_mean: v["zero_mean"].as_bool(),
            ..SchemeParams::named(v["init"].as_str().unwrap())
        };
        let generator = Generator::new(
            seed(&v["seed"]),
            v["layer"].as_u64().unwrap(),
            &params.scheme().unwrap(),
            &shape,
            Layout::OutIn,
        );
        let mut weights = vec![0.0; shape.elements()];
        generator.fill(0, &mut weights);
        let first: Vec<f64> = list(v, "first").iter().map(|x| x.as_f64().unwrap()).collect();
        let stored: Vec<f64> = weights[..4].iter().map(|w| FloatDtype::F32.round(*w)).collect();
        assert_eq!(stored, first, "{v}");
        for dtype in [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16] {
            let mut bytes = vec![0; weights.len() * dtype.size()];
            dtype.encode(&weights, &mut bytes);
            let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            let name = dtype.name().to_uppercase();
            assert_eq!(digest, v["sha256"][&name].as_str().unwrap(), "{name} of {v}");
        }
    }
}
