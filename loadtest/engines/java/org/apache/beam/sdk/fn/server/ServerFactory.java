package org.apache.beam.sdk.fn.server;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.apache.beam.model.pipeline.v1.Endpoints.ApiServiceDescriptor;
import org.apache.beam.sdk.fn.channel.SocketAddressFactory;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.BindableService;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.Server;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ServerInterceptors;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.netty.NettyServerBuilder;

/**
 * Stands in for Beam 2.70's class of this name: put its jar first on the class path.
 *
 * <p>Beam's own listens on all interfaces, whatever address it was given, and has no option against it. This one
 * listens on the loopback interface alone where it was given a loopback address, which is so for all ports that a
 * TaskManager opens for its workers, and for a job server with --job-host=127.0.0.1. For any other host it does as
 * Beam does, since a host's name in a cluster may be one that cannot be listened on. Beam's factories for Unix
 * sockets are left out: nothing in the runner calls them.
 */
public abstract class ServerFactory {
  /** How often a client may send keep-alives: Beam's number. */
  private static final int KEEP_ALIVE_SECONDS = 20;

  /** A factory of servers on free ports of the loopback interface. */
  public static ServerFactory createDefault() {
    return new InetSocketAddressServerFactory(UrlFactory.createDefault(), () -> 0);
  }

  /** As createDefault, with URLs by the given factory. */
  public static ServerFactory createWithUrlFactory(UrlFactory urls) {
    return new InetSocketAddressServerFactory(urls, () -> 0);
  }

  /** As createDefault, with ports from the given supplier. */
  public static ServerFactory createWithPortSupplier(Supplier<Integer> ports) {
    return new InetSocketAddressServerFactory(UrlFactory.createDefault(), ports);
  }

  /** As createDefault, with URLs and ports by the given two. */
  public static ServerFactory createWithUrlFactoryAndPortSupplier(UrlFactory urls, Supplier<Integer> ports) {
    return new InetSocketAddressServerFactory(urls, ports);
  }

  /** Starts a server on an address of its own choice and writes that into the descriptor. */
  public abstract Server allocateAddressAndCreate(List<BindableService> services, ApiServiceDescriptor.Builder descriptor)
      throws IOException;

  /** Starts a server on the descriptor's address. */
  public abstract Server create(List<BindableService> services, ApiServiceDescriptor descriptor) throws IOException;

  /** Makes a URL of a host and a port. */
  public interface UrlFactory {
    String createUrl(String address, int port);

    /** host:port. */
    static UrlFactory createDefault() {
      return (host, port) -> host + ":" + port;
    }
  }

  /** Servers on TCP. */
  public static class InetSocketAddressServerFactory extends ServerFactory {
    private final UrlFactory urls;
    private final Supplier<Integer> ports;

    private InetSocketAddressServerFactory(UrlFactory urls, Supplier<Integer> ports) {
      this.urls = urls;
      this.ports = ports;
    }

    @Override
    public Server allocateAddressAndCreate(List<BindableService> services, ApiServiceDescriptor.Builder descriptor)
        throws IOException {
      InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), ports.get());
      Server server = serve(services, address);
      descriptor.setUrl(urls.createUrl(address.getHostName(), server.getPort()));
      return server;
    }

    @Override
    public Server create(List<BindableService> services, ApiServiceDescriptor descriptor) throws IOException {
      SocketAddress address = SocketAddressFactory.createFrom(descriptor.getUrl());
      if (!(address instanceof InetSocketAddress)) {
        throw new IllegalArgumentException("a server needs an address host:port, not " + descriptor.getUrl());
      }
      return serve(services, (InetSocketAddress) address);
    }

    private static Server serve(List<BindableService> services, InetSocketAddress address) throws IOException {
      boolean loopback = !address.isUnresolved() && address.getAddress().isLoopbackAddress();
      NettyServerBuilder builder =
          loopback ? NettyServerBuilder.forAddress(address) : NettyServerBuilder.forPort(address.getPort());
      builder.maxInboundMessageSize(Integer.MAX_VALUE).permitKeepAliveTime(KEEP_ALIVE_SECONDS, TimeUnit.SECONDS);
      for (BindableService service : services) {
        builder.addService(ServerInterceptors.intercept(service, GrpcContextHeaderAccessorProvider.interceptor()));
      }
      return builder.build().start();
    }
  }
}
