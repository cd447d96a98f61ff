package org.fusednorm.bench;

import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DIFF_DST;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DIFF_SCALE;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DIFF_SHIFT;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DIFF_SRC;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DST;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_MEAN;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SCALE;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SHIFT;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SRC;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SRC_0;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SRC_1;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_VARIANCE;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_WORKSPACE;
import static org.bytedeco.dnnl.global.dnnl.dnnl_backward;
import static org.bytedeco.dnnl.global.dnnl.dnnl_binary_add;
import static org.bytedeco.dnnl.global.dnnl.dnnl_eltwise_relu;
import static org.bytedeco.dnnl.global.dnnl.dnnl_forward_inference;
import static org.bytedeco.dnnl.global.dnnl.dnnl_forward_training;
import static org.bytedeco.dnnl.global.dnnl.dnnl_fuse_norm_relu;
import static org.bytedeco.dnnl.global.dnnl.dnnl_use_global_stats;
import static org.bytedeco.dnnl.global.dnnl.dnnl_use_scale;
import static org.bytedeco.dnnl.global.dnnl.dnnl_use_shift;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.dnnl.IntMemoryMap;
import org.bytedeco.dnnl.batch_normalization_backward;
import org.bytedeco.dnnl.batch_normalization_forward;
import org.bytedeco.dnnl.binary;
import org.bytedeco.dnnl.dnnl_version_t;
import org.bytedeco.dnnl.eltwise_forward;
import org.bytedeco.dnnl.engine;
import org.bytedeco.dnnl.memory;
import org.bytedeco.dnnl.post_ops;
import org.bytedeco.dnnl.primitive;
import org.bytedeco.dnnl.primitive_attr;
import org.bytedeco.dnnl.reorder;
import org.bytedeco.dnnl.stream;
import org.bytedeco.javacpp.Pointer;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.openjdk.jmh.annotations.Param;

/** oneDNN through JavaCPP. */
public class OneDnnNorm extends NormBenchmark {
  /**
   * How the data lies: {@code same} as in the case, or {@code blocked} by {@link
   * Contender#ONEDNN_BLOCK} channels. Getting there and back is not measured.
   */
  @Param({"same", "blocked"})
  public String order;

  /**
   * How a forward's ReLU is made: {@code fused}, or {@code apart} by a second primitive, in place,
   * which takes less time where the fused kernel is a plain one.
   */
  @Param({"fused", "apart"})
  public String relu;

  @Override
  NormWork open(NormCase c, NormData data) {
    return new Work(c, data, order.equals("blocked"), relu.equals("apart"));
  }

  static final class Work implements NormWork {
    private final engine cpu = new engine(engine.kind.cpu, 0);
    private final stream queue = new stream(cpu);
    private final List<Block> blocks = new ArrayList<>();
    private final NormCase c;
    private final memory.desc plain;
    private final memory.desc laid;
    private final IntMemoryMap arguments;
    private final primitive norm;
    private final primitive second;
    private final IntMemoryMap secondArguments = new IntMemoryMap();
    private final memory out;
    private final String implementation;

    Work(NormCase c, NormData data, boolean blocked, boolean apart) {
      this.c = c;
      long[] dims = dims(c);
      memory.data_type type =
          c.type() == DType.F32
              ? memory.data_type.f32
              : c.type() == DType.BF16 ? memory.data_type.bf16 : memory.data_type.f16;
      memory.format_tag tag =
          switch (c.layout()) {
            case "NCHW" -> memory.format_tag.nchw;
            case "NHWC" -> memory.format_tag.nhwc;
            default -> memory.format_tag.nc;
          };
      plain = new memory.desc(dims, type, tag);
      memory.format_tag byBlocks =
          Contender.ONEDNN_BLOCK == 16 ? memory.format_tag.nChw16c : memory.format_tag.nChw8c;
      laid = blocked ? new memory.desc(dims, type, byBlocks) : plain;
      memory.desc channels =
          new memory.desc(new long[] {c.channels()}, memory.data_type.f32, memory.format_tag.a);
      NormCase.Operation o = c.operation();
      int flags = dnnl_use_scale | dnnl_use_shift;
      if (o.relu() && !o.add() && !apart) {
        flags |= dnnl_fuse_norm_relu;
      }
      if (o.isInference()) {
        flags |= dnnl_use_global_stats;
      }
      batch_normalization_forward.primitive_desc forward =
          new batch_normalization_forward.primitive_desc(
              cpu,
              o.isInference() ? dnnl_forward_inference : dnnl_forward_training,
              laid,
              laid,
              (float) NormCase.EPS,
              flags);
      out = data(new Block(c.type(), c.elements()), laid);
      memory x = data(new Block(c, data.x()), plain);
      memory scale = data(new Block(data.gamma()), channels);
      memory mean = data(new Block(data.mean()), channels);
      memory variance = data(new Block(data.variance()), channels);
      memory workspace = new memory(forward.workspace_desc(), cpu);
      // An argument that a primitive does not know is an error: each direction has its own.
      IntMemoryMap forwardArguments = new IntMemoryMap();
      IntMemoryMap backwardArguments = new IntMemoryMap();
      for (IntMemoryMap both : List.of(forwardArguments, backwardArguments)) {
        both.put(DNNL_ARG_SRC, x);
        both.put(DNNL_ARG_SCALE, scale);
        both.put(DNNL_ARG_MEAN, mean);
        both.put(DNNL_ARG_VARIANCE, variance);
        if (forward.workspace_desc().get_size() > 0) {
          both.put(DNNL_ARG_WORKSPACE, workspace);
        }
      }
      forwardArguments.put(DNNL_ARG_DST, out);
      forwardArguments.put(DNNL_ARG_SHIFT, data(new Block(data.beta()), channels));
      primitive forwardNorm = new batch_normalization_forward(forward);
      second = o.add() ? addRelu(data) : o.relu() && apart ? relu() : null;
      if (!o.isBackward()) {
        norm = forwardNorm;
        arguments = forwardArguments;
        implementation = forward.impl_info_str().getString();
        return;
      }
      forwardNorm.execute(queue, forwardArguments);
      queue._wait();
      batch_normalization_backward.primitive_desc backward =
          new batch_normalization_backward.primitive_desc(
              cpu, dnnl_backward, laid, laid, laid, (float) NormCase.EPS, flags, forward);
      backwardArguments.put(DNNL_ARG_DIFF_DST, data(new Block(c, data.dy()), plain));
      // dx takes the place of y, which backward does not read.
      backwardArguments.put(DNNL_ARG_DIFF_SRC, out);
      backwardArguments.put(
          DNNL_ARG_DIFF_SCALE, data(new Block(DType.F32, c.channels()), channels));
      backwardArguments.put(
          DNNL_ARG_DIFF_SHIFT, data(new Block(DType.F32, c.channels()), channels));
      norm = new batch_normalization_backward(backward);
      arguments = backwardArguments;
      implementation = backward.impl_info_str().getString();
    }

    /** On the CPU a residual is not fused: it is added, with the ReLU, in place. */
    private primitive addRelu(NormData data) {
      post_ops relu = new post_ops();
      relu.append_eltwise(dnnl_eltwise_relu, 0, 0);
      primitive_attr attributes = new primitive_attr();
      attributes.set_post_ops(relu);
      secondArguments.put(DNNL_ARG_SRC_0, out);
      secondArguments.put(DNNL_ARG_SRC_1, data(new Block(c, data.residual()), plain));
      secondArguments.put(DNNL_ARG_DST, out);
      return new binary(
          new binary.primitive_desc(cpu, dnnl_binary_add, laid, laid, laid, attributes, false));
    }

    private primitive relu() {
      secondArguments.put(DNNL_ARG_SRC, out);
      secondArguments.put(DNNL_ARG_DST, out);
      return new eltwise_forward(
          new eltwise_forward.primitive_desc(
              cpu,
              c.operation().isInference() ? dnnl_forward_inference : dnnl_forward_training,
              dnnl_eltwise_relu,
              laid,
              laid,
              0,
              0));
    }

    private static long[] dims(NormCase c) {
      Shape s = c.shape();
      return c.layout().equals("NHWC")
          ? new long[] {s.dim(0), s.dim(3), s.dim(1), s.dim(2)}
          : s.dims();
    }

    /** Data that lies as described, brought into the order that is measured. */
    private memory data(Block block, memory.desc lies) {
      blocks.add(block);
      memory m = new memory(lies, cpu, new Address(block.address()));
      if (lies != plain || laid == plain) {
        return m;
      }
      Block other = new Block(c.type(), c.elements());
      blocks.add(other);
      memory ordered = new memory(laid, cpu, new Address(other.address()));
      new reorder(m, ordered).execute(queue, m, ordered);
      queue._wait();
      return ordered;
    }

    @Override
    public void call() {
      norm.execute(queue, arguments);
      if (second != null) {
        second.execute(queue, secondArguments);
      }
      queue._wait();
    }

    @Override
    public float[] result() {
      try (Block result = new Block(c.type(), c.elements())) {
        memory m = new memory(plain, cpu, new Address(result.address()));
        new reorder(out, m).execute(queue, out, m);
        queue._wait();
        return result.toFloats();
      }
    }

    @Override
    public String description() {
      dnnl_version_t v = org.bytedeco.dnnl.global.dnnl.dnnl_version();
      return "oneDNN "
          + v.major()
          + "."
          + v.minor()
          + "."
          + v.patch()
          + " through JavaCPP, "
          + implementation;
    }

    @Override
    public void close() {
      blocks.forEach(Block::close);
    }
  }

  /** An address that JavaCPP does not own. */
  private static final class Address extends Pointer {
    Address(long address) {
      super((Pointer) null);
      this.address = address;
    }
  }
}
