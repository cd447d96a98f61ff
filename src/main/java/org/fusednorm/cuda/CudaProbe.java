package org.fusednorm.cuda;

import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.fusednorm.host.Settings;
import org.fusednorm.host.Unavailable;

/**
 * Walks the way to the GPU once, in an order in which no step can harm the JVM: JCuda binds each
 * driver function at its first call, and one that the driver lacks would end the process. So the
 * driver's version comes before anything but functions as old as CUDA itself.
 */
final class CudaProbe {
  /** The oldest driver that takes a form of the kernels, r525. */
  private static final int OLDEST_DRIVER = 12000;

  private static final int ARCHITECTURE = 75;
  private static final String DRIVER_CURE =
      "install the NVIDIA driver r580 or newer (from r525 on the kernels are compiled at the start)";
  private static final String LIBCUDA = "fusednorm.cuda.libcuda";

  private int driver;

  CudaStatus run() {
    try {
      List<CudaDevice> devices = usableDevices();
      return new CudaStatus(null, driver, devices);
    } catch (CudaMissingException e) {
      return new CudaStatus(e.missing(), driver, List.of());
    } catch (IOException e) {
      Unavailable missing =
          new Unavailable(e.getMessage(), "set -Djava.io.tmpdir to a writable directory", e);
      return new CudaStatus(missing, driver, List.of());
    }
  }

  private List<CudaDevice> usableDevices() throws CudaMissingException, IOException {
    Unavailable off = Settings.offSwitch("fusednorm.cuda");
    if (off != null) {
      throw new CudaMissingException(off);
    }
    loadNamedDriver();
    initialize();
    readDriverVersion();
    List<CudaDevice> devices = devices();
    tryImage(devices.get(0));
    return devices;
  }

  /** JCuda's library asks for libcuda.so.1 by name and takes one that is loaded already. */
  private static void loadNamedDriver() throws CudaMissingException {
    String path = Settings.get(LIBCUDA);
    if (path == null) {
      return;
    }
    try {
      System.load(Path.of(path).toAbsolutePath().toString());
    } catch (IllegalArgumentException | UnsatisfiedLinkError e) {
      throw new CudaMissingException(
          "-D" + LIBCUDA + "=" + path + " does not load: " + e.getMessage(),
          "name the driver's libcuda.so.1, or remove the setting",
          e);
    }
  }

  private static void initialize() throws CudaMissingException, IOException {
    int result;
    try {
      JCudaNatives.initialize("jcuda.driver.JCudaDriver", "JCudaDriver");
      result = JCudaDriver.cuInit(0);
    } catch (LinkageError e) {
      throw bindingFailed(e);
    }
    if (result == CUresult.CUDA_ERROR_NO_DEVICE) {
      throw new CudaMissingException(
          "the NVIDIA driver sees no GPU: " + failure("cuInit(0)", result),
          "see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES");
    }
    check("cuInit(0)", result);
  }

  /** JCuda's text holds two stack traces: one line of it says what the loader missed. */
  private static CudaMissingException bindingFailed(LinkageError error) {
    String text = String.valueOf(error.getMessage());
    if (text.contains("libcuda.so.1: cannot open shared object file")) {
      return new CudaMissingException(
          "libcuda.so.1, the library of the NVIDIA driver, is not found",
          DRIVER_CURE + ", or name its library with -D" + LIBCUDA + "=PATH",
          error);
    }
    String line =
        text.lines()
            .filter(l -> l.contains("UnsatisfiedLinkError: /"))
            .findFirst()
            .orElse(error.toString().lines().findFirst().orElse("LinkageError"));
    return new CudaMissingException(
        "JCuda's binding does not load: " + line.strip(),
        "CUDA needs Linux x86-64, the NVIDIA driver and a java.io.tmpdir without noexec",
        error);
  }

  private void readDriverVersion() throws CudaMissingException {
    int[] version = new int[1];
    check("cuDriverGetVersion", JCudaDriver.cuDriverGetVersion(version));
    driver = version[0];
    if (driver < OLDEST_DRIVER) {
      throw new CudaMissingException(
          "the NVIDIA driver supports CUDA "
              + CudaStatus.version(driver)
              + ", the kernels need "
              + CudaStatus.version(OLDEST_DRIVER),
          DRIVER_CURE);
    }
  }

  /** The devices that can run the kernels, at least one. */
  private static List<CudaDevice> devices() throws CudaMissingException {
    int[] count = new int[1];
    check("cuDeviceGetCount", JCudaDriver.cuDeviceGetCount(count));
    List<CudaDevice> usable = new ArrayList<>();
    List<String> tooOld = new ArrayList<>();
    for (int i = 0; i < count[0]; i++) {
      CudaDevice device = describe(i);
      if (device.architecture() >= ARCHITECTURE) {
        usable.add(device);
      } else {
        tooOld.add(device.name() + " (sm_" + device.architecture() + ")");
      }
    }
    if (usable.isEmpty()) {
      throw new CudaMissingException(
          "no GPU of architecture sm_" + ARCHITECTURE + " or newer, only " + tooOld,
          "use a GPU of the Turing generation (2018) or newer");
    }
    return usable;
  }

  private static CudaDevice describe(int ordinal) throws CudaMissingException {
    CUdevice device = device(ordinal);
    byte[] name = new byte[256];
    check("cuDeviceGetName", JCudaDriver.cuDeviceGetName(name, name.length, device));
    int length = 0;
    while (length < name.length && name[length] != 0) {
      length++;
    }
    long[] memory = new long[1];
    check("cuDeviceTotalMem", JCudaDriver.cuDeviceTotalMem(memory, device));
    int architecture =
        10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
            + attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    return new CudaDevice(
        ordinal,
        new String(name, 0, length, StandardCharsets.UTF_8),
        architecture,
        memory[0],
        attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
        attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device),
        attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, device),
        bytesPerSecond(device));
  }

  /** Memory moves data at both edges of its clock, which is told in kHz. */
  private static double bytesPerSecond(CUdevice device) throws CudaMissingException {
    double clock = 1e3 * attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, device);
    return 2 * clock * attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, device) / Byte.SIZE;
  }

  private static CUdevice device(int ordinal) throws CudaMissingException {
    CUdevice device = new CUdevice();
    check("cuDeviceGet(" + ordinal + ")", JCudaDriver.cuDeviceGet(device, ordinal));
    return device;
  }

  private static int attribute(int attribute, CUdevice device) throws CudaMissingException {
    int[] value = new int[1];
    check("cuDeviceGetAttribute", JCudaDriver.cuDeviceGetAttribute(value, attribute, device));
    return value[0];
  }

  /**
   * Loads the image once on one device; the driver is the same for all. An engine loads it again: a
   * module lives as long as its context, and who only asks must not hold the device.
   */
  private void tryImage(CudaDevice on) throws CudaMissingException, IOException {
    CudaImage image = image();
    CUdevice device = device(on.ordinal());
    CUcontext context = new CUcontext();
    check("cuDevicePrimaryCtxRetain", JCudaDriver.cuDevicePrimaryCtxRetain(context, device));
    try {
      check("cuCtxPushCurrent", JCudaDriver.cuCtxPushCurrent(context));
      try {
        findEntries(image);
      } finally {
        check("cuCtxPopCurrent", JCudaDriver.cuCtxPopCurrent(new CUcontext()));
      }
    } finally {
      check("cuDevicePrimaryCtxRelease", JCudaDriver.cuDevicePrimaryCtxRelease(device));
    }
  }

  private static CudaImage image() throws CudaMissingException {
    String cure = "use the released jar, or build with CUDA 13.0's nvcc installed";
    try {
      return CudaImage.load()
          .orElseThrow(
              () ->
                  new CudaMissingException(CudaImage.RESOURCE + " is not on the class path", cure));
    } catch (IOException e) {
      throw new CudaMissingException(e.getMessage(), cure, e);
    }
  }

  private void findEntries(CudaImage image) throws CudaMissingException, IOException {
    CUmodule module = new CUmodule();
    check(
        "cuModuleLoadDataEx(" + CudaImage.resourceFor(driver) + ")",
        JCudaDriver.cuModuleLoadDataEx(
            module, Pointer.toBuffer(image.bytesFor(driver)), 0, new int[0], new Pointer()));
    try {
      for (String entry : CudaKernels.ENTRIES) {
        check(
            "cuModuleGetFunction(" + entry + ")",
            JCudaDriver.cuModuleGetFunction(new CUfunction(), module, entry));
      }
    } finally {
      check("cuModuleUnload", JCudaDriver.cuModuleUnload(module));
    }
  }

  private static void check(String call, int result) throws CudaMissingException {
    if (result != CUresult.CUDA_SUCCESS) {
      throw new CudaMissingException(failure(call, result), cure(result));
    }
  }

  private static String cure(int result) {
    return switch (result) {
      case CUresult.CUDA_ERROR_OUT_OF_MEMORY ->
          "other programs take the GPU's memory: see nvidia-smi, end one or use another GPU";
      case CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE ->
          "another program has the GPU for itself: see nvidia-smi, or use another GPU";
      case CUresult.CUDA_ERROR_NOT_FOUND ->
          "use an undamaged jar: kernels and classes are not of one build";
      case CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
          CUresult.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE ->
          "restart the machine: the driver was updated and its old kernel module still runs";
      case CUresult.CUDA_ERROR_INVALID_IMAGE,
          CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU,
          CUresult.CUDA_ERROR_INVALID_PTX,
          CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION ->
          DRIVER_CURE;
      default -> "see that nvidia-smi works here";
    };
  }

  private static String failure(String call, int result) {
    return call + ": " + CUresult.stringFor(result) + " (" + result + ")";
  }
}
