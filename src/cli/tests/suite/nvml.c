/* Stands in for NVIDIA's library libnvidia-ml.so.1: two GPUs that say what the file NVML_STAND_IN has.
 *
 * A line for each GPU, in order: memory in use (bytes), utilization (%), power (mW), energy (mJ), temperature (C), clocks of
 * multiprocessors and memory (MHz), reasons of throttling (bits), pid of a process that has memory. `-` is what the GPU does not say.
 * The file is read at every call. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPUS = 2 };
enum { MEMORY, UTILIZATION, POWER, ENERGY, TEMPERATURE, SM_CLOCK, MEMORY_CLOCK, REASONS, PID, FIELDS };

static int handles[GPUS];

static int get(void *device, int field, unsigned long long *value)
{
    char words[FIELDS][32];
    int line = (int)((int *)device - handles), result = NOT_SUPPORTED;
    FILE *file = fopen(getenv("NVML_STAND_IN"), "r");
    if (file == NULL)
        return NOT_FOUND;
    for (int at = 0; at <= line; at++)
        for (int word = 0; word < FIELDS; word++)
            if (fscanf(file, "%31s", words[word]) != 1)
                strcpy(words[word], "-");
    fclose(file);
    if (strcmp(words[field], "-") != 0) {
        *value = strtoull(words[field], NULL, 0);
        result = SUCCESS;
    }
    return result;
}

static int get_int(void *device, int field, unsigned *value)
{
    unsigned long long wide = 0;
    int result = get(device, field, &wide);
    *value = (unsigned)wide;
    return result;
}

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = GPUS;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    if (index >= GPUS)
        return NOT_FOUND;
    *device = &handles[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    snprintf(uuid, length, "GPU-%d0000000-stand-in", (int)((int *)device - handles));
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    char own[96];
    for (unsigned index = 0; index < GPUS; index++) {
        nvmlDeviceGetUUID(&handles[index], own, sizeof own);
        if (strcmp(own, uuid) == 0)
            return nvmlDeviceGetHandleByIndex_v2(index, device);
    }
    return NOT_FOUND;
}

struct memory { unsigned version; unsigned long long total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory)
{
    memory->total = 80ull << 30;
    return get(device, MEMORY, &memory->used);
}

struct utilization { unsigned gpu, memory; };

int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates)
{
    return get_int(device, UTILIZATION, &rates->gpu);
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *power) { return get_int(device, POWER, power); }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy) { return get(device, ENERGY, energy); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits) { return get(device, REASONS, bits); }

int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *temperature)
{
    (void)sensor;
    return get_int(device, TEMPERATURE, temperature);
}

int nvmlDeviceGetClockInfo(void *device, unsigned clock, unsigned *mhz)
{
    return get_int(device, clock == 2 ? MEMORY_CLOCK : SM_CLOCK, mhz);
}

struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *processes)
{
    unsigned pid, room = *count;
    *count = get_int(device, PID, &pid) == SUCCESS;
    if (room < *count)
        return INSUFFICIENT_SIZE;
    if (*count > 0)
        processes[0] = (struct process){ .pid = pid };
    return SUCCESS;
}
