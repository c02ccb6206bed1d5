import pytest
import torch

from galaxysegment.nets.unet._module import UNet, _Upsampler


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (33, 16), (48, 64)])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_any_size_comes_out_as_it_went_in(size, depth):
    net = UNet(n_bands=3, base_width=2, depth=depth, n_outputs=2).eval()
    assert net(torch.zeros(2, 3, *size)).shape == (2, 2, *size)


def test_training_on_one_tiny_image_works():
    net = UNet(base_width=2).train()
    assert torch.isfinite(net(torch.randn(1, 1, 5, 5))).all()


def test_the_paper_form_has_the_paper_number_of_weights():
    # Ronneberger's 64…1024 channels: 31.0 million weights
    n_weights = sum(p.numel() for p in UNet(base_width=64).parameters())
    assert 31.0e6 < n_weights < 31.1e6


def test_padding_does_not_change_the_pixels_inside():
    torch.manual_seed(0)
    net = UNet(base_width=4, depth=3).eval()
    image = torch.randn(1, 1, 64, 64)
    image[..., 61:] = 0
    torch.testing.assert_close(net(image[..., :61])[..., :40], net(image)[..., :40])


def test_a_pixel_sees_its_surroundings():
    net = UNet(base_width=4, depth=5).eval()
    image = torch.randn(1, 1, 128, 128, requires_grad=True)
    net(image)[0, 0, 64, 64].backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(dim=1) > 0)
    assert rows.max() - rows.min() > 90


def test_the_upsampler_is_the_transposed_convolution():
    torch.manual_seed(0)
    ours, plain = _Upsampler(8, 5), torch.nn.ConvTranspose2d(8, 5, 2, stride=2)
    ours.load_state_dict(plain.state_dict())
    image = torch.randn(2, 8, 3, 7)
    collected, gradients = [], []
    for module in (ours, plain):
        x = image.clone().requires_grad_()
        out = module(x)
        (out * torch.linspace(0, 1, out.numel()).view(out.shape)).sum().backward()
        collected.append(out)
        gradients.append([x.grad, module.weight.grad, module.bias.grad])
    torch.testing.assert_close(*collected)
    torch.testing.assert_close(*gradients)
