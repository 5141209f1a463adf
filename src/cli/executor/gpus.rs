//! What a driver says of its GPUs, behind a trait: tests have a stand-in.

use std::collections::BTreeSet;
use std::sync::Arc;

use ceiling_core::telemetry::Throttle;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// A driver of GPUs. What it does not say is absent; a call may take long where a GPU is broken.
pub trait Gpus: Send + Sync {
    /// What a GPU does at this moment. `gpu` is a name that `CUDA_VISIBLE_DEVICES` takes.
    fn read(&self, gpu: &str) -> Reading;

    /// Ids of the processes that have memory on a GPU, as far as they can be told.
    fn holders(&self, gpu: &str) -> Vec<u32>;
}

/// What a GPU does at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Percent of the time in which a kernel ran, over the driver's own last moments.
    pub utilization_percent: Option<u32>,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// Power draw in milliwatts.
    pub power_mw: Option<u32>,
    /// Energy used since the driver was loaded, in millijoules.
    pub energy_mj: Option<u64>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Clock of its multiprocessors in MHz.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory in MHz.
    pub memory_clock_mhz: Option<u32>,
    /// What keeps its clocks down.
    pub throttle: Option<BTreeSet<Throttle>>,
}

/// The GPUs of this machine: those of NVIDIA's driver, if its library is there.
pub fn of_this_machine() -> Arc<dyn Gpus> {
    match Nvml::init() {
        Ok(nvml) => Arc::new(nvml),
        // Without a driver there is no NVML, and no GPU to say anything of.
        Err(_) => Arc::new(NoDriver),
    }
}

/// No driver, and so no GPU.
pub struct NoDriver;

impl Gpus for NoDriver {
    fn read(&self, _: &str) -> Reading {
        Reading::default()
    }

    fn holders(&self, _: &str) -> Vec<u32> {
        Vec::new()
    }
}

impl Gpus for Nvml {
    fn read(&self, gpu: &str) -> Reading {
        let Ok(device) = find(self, gpu) else { return Reading::default() };
        Reading {
            utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
            memory_bytes: device.memory_info().ok().map(|memory| memory.used),
            power_mw: device.power_usage().ok(),
            energy_mj: device.total_energy_consumption().ok(),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            sm_clock_mhz: device.clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            throttle: device.current_throttle_reasons().ok().map(throttle),
        }
    }

    fn holders(&self, gpu: &str) -> Vec<u32> {
        let processes = find(self, gpu).and_then(|device| device.running_compute_processes());
        processes.unwrap_or_default().iter().map(|process| process.pid).collect()
    }
}

/// The GPU of this name: an index, an id, or the beginning of one.
fn find<'a>(nvml: &'a Nvml, gpu: &str) -> Result<Device<'a>, NvmlError> {
    if let Ok(index) = gpu.parse() {
        return nvml.device_by_index(index);
    }
    nvml.device_by_uuid(gpu).or_else(|error| {
        let devices = (0..nvml.device_count()?).map(|index| nvml.device_by_index(index));
        let is_meant = |device: &Device<'_>| device.uuid().is_ok_and(|uuid| uuid.starts_with(gpu));
        devices.flatten().find(is_meant).ok_or(error)
    })
}

fn throttle(reasons: ThrottleReasons) -> BTreeSet<Throttle> {
    let all = [
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, Throttle::ApplicationsClocksSetting),
        (ThrottleReasons::SW_POWER_CAP, Throttle::SwPowerCap),
        (ThrottleReasons::HW_SLOWDOWN, Throttle::HwSlowdown),
        (ThrottleReasons::SYNC_BOOST, Throttle::SyncBoost),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, Throttle::SwThermalSlowdown),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, Throttle::HwThermalSlowdown),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, Throttle::HwPowerBrakeSlowdown),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, Throttle::DisplayClockSetting),
    ];
    all.into_iter().filter(|(bit, _)| reasons.contains(*bit)).map(|(_, throttle)| throttle).collect()
}
