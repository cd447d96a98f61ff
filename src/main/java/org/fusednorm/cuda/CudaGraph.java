package org.fusednorm.cuda;

import java.util.List;
import java.util.Set;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.CUstreamCaptureMode;
import jcuda.driver.JCudaDriver;
import org.fusednorm.Engine;

/** Launches that the driver keeps, to be queued with one call. */
final class CudaGraph implements Engine.Graph {
  private final CudaContext context;
  private final Launches launches;
  private final CUstream stream;
  private final CUgraphExec executable = new CUgraphExec();

  /** Stands in the launches, so it stays as long as they do. */
  private final Workspace workspace;

  private final boolean mayComplain;

  /** The engine's graphs that are open. */
  private final Set<CudaGraph> open;

  /**
   * Captures launches, which were run before: whatever they allocate once is there. They are
   * captured on a stream of our own, so that what others queue meanwhile, even on a foreign stream
   * that the engine joined, stays out.
   */
  CudaGraph(
      CudaContext context,
      Launches launches,
      CUstream stream,
      CUstream capture,
      List<Runnable> work,
      Set<CudaGraph> open) {
    this.context = context;
    this.launches = launches;
    this.stream = stream;
    this.open = open;
    CUgraph graph = new CUgraph();
    Cuda.check(
        JCudaDriver.cuStreamBeginCapture(
            capture, CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        "cuStreamBeginCapture");
    Workspace used = launches.startCapture(capture);
    boolean complaints;
    int ended;
    boolean captured = false;
    try {
      work.forEach(Runnable::run);
      captured = true;
    } finally {
      complaints = launches.endCapture(stream);
      ended = JCudaDriver.cuStreamEndCapture(capture, graph);
      if (!captured && ended == CUresult.CUDA_SUCCESS) {
        JCudaDriver.cuGraphDestroy(graph);
      }
    }
    Cuda.check(ended, "cuStreamEndCapture");
    int result = JCudaDriver.cuGraphInstantiate(executable, graph, 0);
    int destroyed = JCudaDriver.cuGraphDestroy(graph);
    Cuda.check(result, "cuGraphInstantiate");
    if (destroyed != CUresult.CUDA_SUCCESS) {
      JCudaDriver.cuGraphExecDestroy(executable);
      throw Cuda.failure(destroyed, "cuGraphDestroy");
    }
    mayComplain = complaints;
    workspace = used.hold();
    open.add(this);
  }

  @Override
  public void launch() {
    context.enter();
    try {
      int result = JCudaDriver.cuGraphLaunch(executable, stream);
      if (result != CUresult.CUDA_SUCCESS) {
        throw Cuda.failure(result, "cuGraphLaunch");
      }
      launches.launched("a recording");
      launches.mayComplain(mayComplain);
    } finally {
      context.leave();
    }
  }

  /** The driver lets a replay that is going on end first. */
  @Override
  public void close() {
    Releases releases = new Releases();
    releases.add(() -> open.remove(this));
    releases.add("cuGraphExecDestroy", () -> JCudaDriver.cuGraphExecDestroy(executable));
    releases.add(workspace::drop);
    context.run(releases);
  }
}
