package org.fusednorm.cuda;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;

/** The driver's calls as an engine makes them, each one checked; frees all that it took. */
final class DriverSession implements AutoCloseable {
  private final CUdevice device = new CUdevice();
  private final CUmodule module = new CUmodule();
  private final List<DevicePointer> memory = new ArrayList<>();

  /** An address that can be put into a kernel's parameters. */
  static final class DevicePointer extends CUdeviceptr {
    long address() {
      return getNativePointer();
    }
  }

  DriverSession() throws IOException {
    check("cuDeviceGet", JCudaDriver.cuDeviceGet(device, 0));
    CUcontext context = new CUcontext();
    check("cuDevicePrimaryCtxRetain", JCudaDriver.cuDevicePrimaryCtxRetain(context, device));
    check("cuCtxPushCurrent", JCudaDriver.cuCtxPushCurrent(context));
    ByteBuffer image = CudaImage.load().orElseThrow().bytes();
    check(
        "cuModuleLoadDataEx",
        JCudaDriver.cuModuleLoadDataEx(
            module, Pointer.toBuffer(image), 0, new int[0], Pointer.to(new byte[0])));
  }

  /** Throws with the driver's text unless the result is 0. */
  static void check(String call, int result) {
    if (result != CUresult.CUDA_SUCCESS) {
      throw new IllegalStateException(
          call + ": " + CUresult.stringFor(result) + " (" + result + "): " + text(result));
    }
  }

  static String text(int result) {
    String[] text = new String[1];
    JCudaDriver.cuGetErrorString(result, text);
    return text[0];
  }

  CUfunction function(String name) {
    CUfunction f = new CUfunction();
    check("cuModuleGetFunction " + name, JCudaDriver.cuModuleGetFunction(f, module, name));
    return f;
  }

  DevicePointer allocate(long bytes) {
    DevicePointer p = new DevicePointer();
    check("cuMemAlloc " + bytes, JCudaDriver.cuMemAlloc(p, bytes));
    memory.add(p);
    return p;
  }

  DevicePointer upload(ByteBuffer data) {
    DevicePointer p = allocate(data.capacity());
    check("cuMemcpyHtoD", JCudaDriver.cuMemcpyHtoD(p, Pointer.toBuffer(data), data.capacity()));
    return p;
  }

  ByteBuffer download(DevicePointer from, int bytes) {
    ByteBuffer data = buffer(bytes);
    check("cuMemcpyDtoH", JCudaDriver.cuMemcpyDtoH(Pointer.toBuffer(data), from, bytes));
    return data;
  }

  /** Launches on a stream, or on the null stream; the one parameter is a struct by value. */
  static int launch(CUfunction f, int blocks, int threads, CUstream stream, ByteBuffer struct) {
    Pointer parameters = Pointer.to(Pointer.toBuffer(struct.rewind()));
    return JCudaDriver.cuLaunchKernel(f, blocks, 1, 1, threads, 1, 1, 0, stream, parameters, null);
  }

  static ByteBuffer buffer(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  void freeMemory() {
    memory.forEach(p -> check("cuMemFree", JCudaDriver.cuMemFree(p)));
    memory.clear();
  }

  @Override
  public void close() {
    freeMemory();
    check("cuModuleUnload", JCudaDriver.cuModuleUnload(module));
    check("cuCtxPopCurrent", JCudaDriver.cuCtxPopCurrent(new CUcontext()));
    check("cuDevicePrimaryCtxRelease", JCudaDriver.cuDevicePrimaryCtxRelease(device));
  }
}
