//! What GPUs and processes did while a probe was measured. What could not be read is absent, never zero.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Seconds, Share};

/// What was seen of an engine's GPUs and processes from outside, during one probe.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Telemetry {
    /// The GPUs that the engine may use; none on a CPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSeen>,
    /// The process that submits requests and stamps their tokens.
    pub harness: ProcessesSeen,
    /// The engine's processes: all others that the worker has.
    pub engine: ProcessesSeen,
    /// Least memory of the machine that was left for other uses, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_bytes: Option<u64>,
}

/// What some processes used.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ProcessesSeen {
    /// CPU time of all their threads, in user and kernel mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<Seconds>,
    /// Most memory that they had resident, in bytes; what several share counts for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What one GPU did.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct GpuSeen {
    /// As `CUDA_VISIBLE_DEVICES` names it.
    pub gpu: String,
    /// How often it was looked at.
    pub samples: u32,
    /// Mean share of time in which a kernel ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<Share>,
    /// Most memory in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Mean power draw in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// Energy in joules, by the GPU's own counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// Highest temperature in degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<u32>,
    /// Lowest clock of its multiprocessors in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_clock_mhz: Option<u32>,
    /// Lowest clock of its memory in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// What kept its clocks down; empty where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<BTreeSet<Throttle>>,
}

/// What keeps the clocks of a GPU down, by NVML's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Throttle {
    /// The clocks that were set for applications.
    ApplicationsClocksSetting,
    /// The power limit of the card.
    SwPowerCap,
    /// The hardware: heat, the power supply, or power drawn too fast.
    HwSlowdown,
    /// Another GPU of its group.
    SyncBoost,
    /// Heat, by the driver.
    SwThermalSlowdown,
    /// Heat, by the hardware.
    HwThermalSlowdown,
    /// The power supply.
    HwPowerBrakeSlowdown,
    /// The clocks that a display needs.
    DisplayClockSetting,
}

impl Throttle {
    /// Whether it comes and goes, so that another probe on the same GPU may be faster. A limit that somebody set, the card's
    /// own power limit included, holds for every probe.
    fn comes_and_goes(self) -> bool {
        match self {
            Self::HwSlowdown | Self::SwThermalSlowdown | Self::HwThermalSlowdown | Self::HwPowerBrakeSlowdown => true,
            Self::ApplicationsClocksSetting | Self::SwPowerCap | Self::SyncBoost | Self::DisplayClockSetting => false,
        }
    }
}

impl std::fmt::Display for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ApplicationsClocksSetting => "applications-clocks-setting",
            Self::SwPowerCap => "sw-power-cap",
            Self::HwSlowdown => "hw-slowdown",
            Self::SyncBoost => "sync-boost",
            Self::SwThermalSlowdown => "sw-thermal-slowdown",
            Self::HwThermalSlowdown => "hw-thermal-slowdown",
            Self::HwPowerBrakeSlowdown => "hw-power-brake-slowdown",
            Self::DisplayClockSetting => "display-clock-setting",
        })
    }
}

impl Telemetry {
    /// What slowed a GPU down for a time: heat, or lack of power.
    pub fn throttled_by(&self) -> impl Iterator<Item = Throttle> {
        let reasons = self.gpus.iter().filter_map(|gpu| gpu.throttle.as_ref()).flatten().copied();
        reasons.filter(|reason| reason.comes_and_goes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(throttle: Option<&[Throttle]>) -> Telemetry {
        let throttle = throttle.map(|reasons| reasons.iter().copied().collect());
        Telemetry { gpus: vec![GpuSeen { throttle, ..GpuSeen::default() }], ..Telemetry::default() }
    }

    #[test]
    fn heat_and_lack_of_power_throttle_and_limits_do_not() {
        let table: [(Option<&[Throttle]>, bool); 5] = [
            (None, false),
            (Some(&[]), false),
            (Some(&[Throttle::SwPowerCap, Throttle::ApplicationsClocksSetting]), false),
            (Some(&[Throttle::SwPowerCap, Throttle::SwThermalSlowdown]), true),
            (Some(&[Throttle::HwPowerBrakeSlowdown]), true),
        ];
        for (reasons, expected) in table {
            assert_eq!(telemetry(reasons).throttled_by().next().is_some(), expected, "{reasons:?}");
        }
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let text = serde_json::to_string(&telemetry(None)).unwrap();
        assert_eq!(text, r#"{"gpus":[{"gpu":"","samples":0}],"harness":{},"engine":{}}"#);
        assert_eq!(serde_json::from_str::<Telemetry>(&text).unwrap(), telemetry(None));
    }
}
