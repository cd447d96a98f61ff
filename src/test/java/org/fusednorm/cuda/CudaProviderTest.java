package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.List;
import org.fusednorm.Availability;
import org.fusednorm.Availability.Part;
import org.fusednorm.BackendException;
import org.fusednorm.Backends;
import org.junit.jupiter.api.Test;

class CudaProviderTest {
  @Test
  void isListedFirstWithItsCause() {
    Availability a = Backends.availability().get(0);
    CudaStatus status = CudaDriver.status();
    assertEquals("cuda", a.name());
    assertEquals(status.available(), a.available());
    assertEquals(status.available() ? "" : status.cause(), a.cause());
    assertEquals(status.available() ? "" : status.cure(), a.cure());
  }

  @Test
  void openingItThrowsTheCause() {
    assumeFalse(CudaDriver.status().available(), "there is a GPU");
    BackendException e = assertThrows(BackendException.class, () -> Backends.open("cuda"));
    assertTrue(e.getMessage().contains(Backends.availability().get(0).cause()), e.getMessage());
  }

  @Test
  void partsAreDriverDevicesAndKernels() {
    CudaDevice device = new CudaDevice(1, "Example GPU", 90, 3L << 29, 132, 227 << 10, 50 << 20, 0);
    List<Part> parts = CudaProvider.parts(new CudaStatus(null, 13000, List.of(device)));
    assertEquals(Part.of("driver", "CUDA 13.0"), parts.get(0));
    assertEquals(
        Part.of("device 0", "Example GPU, sm_90, 1.5 GiB, number 1 for the driver"), parts.get(1));
    assertEquals("kernels", parts.get(2).name());
    assertEquals(parts.get(2).value().isEmpty(), !parts.get(2).cause().isEmpty());
  }
}
